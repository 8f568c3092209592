import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Random, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type LinkFault, LinkFault as LinkFaults } from "../../src/services/WorkerChannel.ts"
import { WorkerConnection } from "../../src/services/WorkerConnection.ts"
import { Answer, ScriptedWorker, Timeline } from "../../src/testing.ts"
import {
  openCall,
  perform,
  reason,
  Refusals,
  settle,
  status,
  streaming,
  tag,
  theLink,
  Told,
  world
} from "../support/connectionWorld.ts"

const { Action } = Timeline
const Worker = ScriptedWorker.ScriptedWorker
const healthCalls = Worker.useSync((worker) => worker.calls().filter((call) => call.path.endsWith("/Health")).length)

describe("SupervisedConnection, connecting", () => {
  it.effect("is Connected once the worker has answered Health, and polls it each interval", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* tag, "Connecting")
      yield* settle
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual(yield* healthCalls, 1)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* healthCalls, 5)
      const { log, reconnects } = yield* Told
      assert.deepStrictEqual(log, [
        "Info connecting to worker at unix:///scripted/worker.sock",
        "Info connected to worker",
        "Info health check started (every 5s)"
      ])
      assert.strictEqual(reconnects, 0)
    }).pipe(Effect.provide(world())))

  it.effect("does not take an open connection for a worker", () =>
    Effect.gen(function*() {
      yield* perform(Action.Saturate())
      yield* settle
      assert.strictEqual(yield* tag, "Connecting")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* reason, "HealthTimeout")
      const connection = yield* WorkerConnection
      assert.isUndefined(connection.link())
      yield* perform(Action.Relieve())
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual((yield* Worker).dials(), 1)
    }).pipe(Effect.provide(world({ timeline: "at 0s: saturate" }))))

  it.effect("starts without a worker, says what to do, and connects when it comes", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      const state = connection.current()
      assert(state._tag === "Disconnected")
      assert.strictEqual(state.reason, "SocketMissing")
      assert.include(state.remedy, "[server] worker_uds")
      assert.strictEqual(state.attempt, 1)
      assert.isDefined(state.retryAt)
      yield* TestClock.adjust("7 minutes")
      assert.strictEqual(yield* reason, "SocketMissing")
      yield* perform(Action.ComeBack())
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world({ running: false }))))

  it.effect("gives up a dial that is accepted and never answered", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1999 millis")
      assert.strictEqual(yield* tag, "Connecting")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* reason, "DialTimeout")
      assert.strictEqual((yield* Worker).openLinks(), 0)
      assert.deepStrictEqual((yield* Told).faults, ["DialTimeout"])
    }).pipe(Effect.provide(world({ timeline: "at 0s: accept and never answer", running: true }))))

  const remedies: ReadonlyArray<readonly [LinkFault, string]> = [
    ["SocketMissing", "[server] worker_uds"],
    ["ConnectionRefused", "start it again"],
    ["PermissionDenied", "permission"],
    ["NotASocket", "not a Unix socket"],
    ["PathTooLong", "107 bytes"],
    ["ForeignSocket", "[server] worker_user"],
    ["HostUnknown", "the host in [server] worker_uds"],
    ["HostUnreachable", "network"],
    ["NotGrpc", "gRPC"],
    ["DialTimeout", "[health] check_timeout_secs"],
    ["LinkBroken", "log"],
    ["GoingAway", "shutting down"]
  ]
  it("knows a remedy for every fault of a link", () => {
    assert.sameMembers(remedies.map(([fault]) => fault), [...LinkFaults.literals])
  })
  it.effect.each(remedies)("tells %s apart, each with its own remedy", ([fault, words]) =>
    Effect.gen(function*() {
      yield* perform(Action.Unreachable({ fault }))
      yield* TestClock.adjust("10 seconds")
      const state = (yield* WorkerConnection).current()
      assert(state._tag === "Disconnected")
      assert.strictEqual(state.reason, fault)
      assert.include(state.remedy, words)
      const { faults, log } = yield* Told
      assert.include(faults, fault)
      assert.strictEqual(log.filter((line) => line.includes(`(${fault})`)).length, 1)
    }).pipe(Effect.provide(world())))

  it.effect("is Disconnected when Health ends with an error", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.HealthFails({ value: true }))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* tag, "Connected")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* reason, "HealthFailed")
      const state = (yield* WorkerConnection).current()
      assert(state._tag === "Disconnected")
      assert.include(state.detail, "UNIMPLEMENTED")
    }).pipe(Effect.provide(world())))
})

describe("SupervisedConnection, losing the worker", () => {
  it.effect("is Disconnected in the turn in which the transport breaks", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      const heard: Array<string> = []
      const stop = connection.onChange((state) => void heard.push(state._tag))
      const worker = yield* Worker
      yield* worker.perform(Action.Die())
      // No fiber has run since.
      assert.strictEqual(connection.current()._tag, "Disconnected")
      assert.isUndefined(connection.link())
      assert.strictEqual(heard[0], "Disconnected")
      stop()
      const before = heard.length
      yield* perform(Action.ComeBack())
      yield* settle
      assert.strictEqual(connection.current()._tag, "Connected")
      assert.strictEqual(heard.length, before)
      assert.strictEqual((yield* Told).reconnects, 1)
    }).pipe(Effect.provide(world())))

  it.effect("dials anew after GOAWAY while the running call finishes on the old link", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("10 seconds")
      const old = yield* theLink
      const call = openCall(old)
      yield* TestClock.adjust("1 second")
      const connection = yield* WorkerConnection
      yield* (yield* Worker).perform(Action.GoAway())
      // Not lost: new streams wait for the next link.
      assert.strictEqual(yield* status, "Connected renewing")
      assert.isUndefined(connection.link())
      yield* settle
      assert.strictEqual(yield* status, "Connected")
      assert.notStrictEqual(connection.link(), old)
      assert.strictEqual((yield* Worker).openLinks(), 2)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(call.frames, 101)
      assert.strictEqual(call.end?.reason, "status")
      assert.strictEqual((yield* Worker).openLinks(), 1)
      assert.deepStrictEqual((yield* Told).faults, [])
    }).pipe(Effect.provide(world({ answer: streaming(10, 100) }))))

  it.effect("dials anew after each GOAWAY of a proved link, however young, with a pause that no worker can take away", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      for (let round = 1; round <= 20; round++) {
        const old = yield* theLink
        yield* perform(Action.GoAway())
        assert.strictEqual(yield* status, "Connected renewing")
        assert.strictEqual((yield* Worker).dials(), round)
        yield* TestClock.adjust("100 millis")
        assert.strictEqual(yield* status, "Connected")
        assert.notStrictEqual(connection.link(), old)
      }
      assert.deepStrictEqual((yield* Told).faults, [])
    }).pipe(Effect.provide(world({}, { health: { check_interval_secs: 600 } }))))

  it.effect("does not dial at once for every GOAWAY in a row of links that are never proved", () =>
    Effect.gen(function*() {
      // It greets and never answers.
      yield* TestClock.adjust("3 seconds")
      for (let round = 0; round < 5; round++) yield* perform(Action.GoAway())
      assert.strictEqual(yield* reason, "GoingAway")
      assert.strictEqual((yield* Worker).dials(), 2)
      yield* perform(Action.Relieve())
      yield* TestClock.adjust("2400 millis")
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world({ timeline: "at 0s: saturate" }))))

  it.effect("waits for a worker that said goodbye for as long as a stream is held, and no longer", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 second")
      const connection = yield* WorkerConnection
      yield* perform(Action.Stop({ seconds: 5 }))
      assert.strictEqual(yield* status, "Reloading restarting")
      assert.isUndefined(connection.link())
      yield* TestClock.adjust("6 seconds")
      yield* perform(Action.ComeBack())
      assert.strictEqual(yield* status, "Connected")
      yield* perform(Action.Stop({ seconds: 5 }))
      // Young, so the dial comes after the pause.
      assert.strictEqual(yield* status, "Connected renewing")
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* status, "Reloading restarting")
      yield* TestClock.adjust("29999 millis")
      assert.strictEqual(yield* status, "Reloading restarting")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* reason, "SocketMissing")
      const { log } = yield* Told
      assert.strictEqual(log.filter((line) => line.includes("said goodbye")).length, 2)
      assert.strictEqual(log.filter((line) => line.startsWith("Warn worker not connected (SocketMissing)")).length, 1)
    }).pipe(Effect.provide(world())))

  it.effect("waits while the worker that comes after a goodbye is not healthy yet, and believes its reload", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Stop({ seconds: 5 }))
      yield* perform(Action.ComeBack())
      yield* perform(Action.Stop({ seconds: 5 }))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* status, "Reloading restarting")
      yield* (yield* Worker).perform(Action.ComeBack())
      yield* perform(Action.Reload({ seconds: 40, eta: true, gone: false }))
      assert.strictEqual(yield* status, "Reloading")
      yield* TestClock.adjust("39 seconds")
      assert.strictEqual(yield* status, "Reloading")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* status, "Connected")
    }).pipe(Effect.provide(world())))

  it.effect("takes over the worker that replaced one which says goodbye", () =>
    Effect.gen(function*() {
      yield* settle
      const old = yield* theLink
      const call = openCall(old)
      const worker = yield* Worker
      // GOAWAY comes while the replacement is being dialled.
      yield* worker.perform(Action.GoAway())
      yield* worker.perform(Action.Replace())
      yield* TestClock.adjust("200 millis")
      assert.strictEqual(yield* status, "Connected")
      assert.notStrictEqual((yield* WorkerConnection).link(), old)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(call.end?.reason, "status")
      assert.notInclude((yield* Told).states, "Disconnected")
    }).pipe(Effect.provide(world({ answer: streaming(5, 100) }))))

  it.effect("is Disconnected after failure_threshold probes without an answer, and ends the calls of the link", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("11 seconds")
      const call = openCall(yield* theLink)
      yield* TestClock.adjust("1 second")
      yield* perform(Action.Hang())
      yield* TestClock.adjust("14999 millis")
      assert.strictEqual(yield* tag, "Connected")
      assert.isUndefined(call.end?.reason)
      yield* TestClock.adjust("1 millis")
      // Probes at 15, 20 and 25 s, the last one's limit at 27 s.
      assert.strictEqual(yield* reason, "HealthTimeout")
      assert.strictEqual(call.end?.reason, "transport")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* reason, "DialTimeout")
      yield* perform(Action.Wake())
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual((yield* Worker).openLinks(), 1)
    }).pipe(Effect.provide(world({ answer: streaming(600, 100) }))))

  it.effect("forgives failures that are not in a row", () =>
    Effect.gen(function*() {
      yield* settle
      for (let round = 0; round < 5; round++) {
        yield* perform(Action.Hang())
        yield* TestClock.adjust("13 seconds")
        yield* perform(Action.Wake())
        yield* TestClock.adjust("7 seconds")
        assert.strictEqual(yield* tag, "Connected")
      }
      assert.strictEqual((yield* Worker).dials(), 1)
    }).pipe(Effect.provide(world())))

  it.effect.each([100, 4000])(
    "stays Connected while Health starves and streams bring a frame each %d ms",
    (everyMillis) =>
      Effect.gen(function*() {
        yield* settle
        const call = openCall(yield* theLink)
        openCall(yield* theLink)
        yield* settle
        yield* perform(Action.Saturate())
        yield* TestClock.adjust("20 minutes")
        assert.strictEqual(yield* tag, "Connected")
        assert.isAbove(call.frames, 200)
        const { log, saturated, states } = yield* Told
        assert.deepStrictEqual(states, ["Connected", "Connected saturated"])
        assert.isAbove(saturated, 50)
        const hints = log.filter((line) => line.includes("[server] max_worker_streams"))
        assert.strictEqual(hints.length, 1)
      }).pipe(Effect.provide(world({ answer: streaming(3600, everyMillis) })))
  )

  it.effect("stays Connected while Health starves behind silent calls, as long as the transport acknowledges", () =>
    Effect.gen(function*() {
      yield* settle
      const link = yield* theLink
      const connection = yield* WorkerConnection
      const silent = [openCall(link), openCall(link)]
      yield* TestClock.adjust("1 second")
      yield* perform(Action.Saturate())
      yield* TestClock.adjust("6 seconds")
      const state = connection.current()
      assert(state._tag === "Connected")
      // The probe of 5 s was late at 7 s.
      assert.strictEqual(state.saturatedSince, 7000)
      const asked = yield* Effect.forkChild(connection.health, { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      const { healthy, metrics } = yield* Fiber.join(asked)
      assert.deepStrictEqual([healthy, metrics["reason"]], [true, "Saturated"])
      yield* TestClock.adjust("20 minutes")
      assert.strictEqual(connection.current(), state)
      assert.strictEqual(connection.link(), link)
      assert.isUndefined(silent[0]?.end)
      yield* perform(Action.Relieve())
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* status, "Connected")
      const { log, saturated, states } = yield* Told
      assert.deepStrictEqual(states, ["Connected", "Connected saturated", "Connected"])
      assert.isAbove(saturated, 200)
      assert.strictEqual(log.filter((line) => line.includes("[server] max_worker_streams")).length, 1)
      assert.strictEqual((yield* Worker).dials(), 1)
    }).pipe(Effect.provide(world({ answer: Answer.silence }))))

  it.effect("cuts a saturated worker that stands still within failure_threshold probes of it", () =>
    Effect.gen(function*() {
      yield* settle
      const call = openCall(yield* theLink)
      yield* perform(Action.Saturate())
      yield* TestClock.adjust("14 seconds")
      assert.strictEqual(yield* status, "Connected saturated")
      yield* perform(Action.Hang())
      // Probes at 15, 20 and 25 s, the last one's limit at 27 s.
      yield* TestClock.adjust("12999 millis")
      assert.strictEqual(yield* status, "Connected saturated")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* reason, "HealthTimeout")
      assert.strictEqual(call.end?.reason, "transport")
      const state = (yield* WorkerConnection).current()
      assert(state._tag === "Disconnected")
      assert.include(state.detail, "no acknowledgement of a PING")
    }).pipe(Effect.provide(world({ answer: Answer.silence }))))

  it.effect("cuts a worker whose Health is late while no call is open, whatever its transport says", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Saturate())
      yield* TestClock.adjust("16999 millis")
      assert.strictEqual(yield* status, "Connected")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* reason, "HealthTimeout")
    }).pipe(Effect.provide(world())))

  it.effect("asks the transport once before it gives up after a single failure", () =>
    Effect.gen(function*() {
      yield* settle
      const call = openCall(yield* theLink)
      yield* perform(Action.Saturate())
      yield* TestClock.adjust("63 seconds")
      assert.strictEqual(yield* status, "Connected saturated")
      yield* perform(Action.Hang())
      // The probe of 65 s has its limit at 67 s, and the acknowledgement as long again.
      yield* TestClock.adjust("5999 millis")
      assert.strictEqual(yield* tag, "Connected")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* reason, "HealthTimeout")
      assert.strictEqual(call.end?.reason, "transport")
    }).pipe(Effect.provide(world({ answer: Answer.silence }, { health: { failure_threshold: 1 } }))))

  it.effect("renews the connection to a saturated worker", () =>
    Effect.gen(function*() {
      yield* settle
      const old = yield* theLink
      const silent = openCall(old)
      yield* perform(Action.Saturate())
      yield* TestClock.adjust("20 seconds")
      yield* perform(Action.GoAway())
      assert.strictEqual(yield* status, "Connected renewing")
      // Its Health is late too; the calls that make it late are on the old link.
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* status, "Connected saturated")
      assert.notStrictEqual(yield* theLink, old)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* status, "Connected saturated")
      assert.isUndefined(silent.end)
    }).pipe(Effect.provide(world({ answer: Answer.silence }))))

  it.effect("is Disconnected for new streams while the worker says healthy = false; running ones go on", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      const link = yield* theLink
      const call = openCall(link)
      yield* perform(Action.Healthy({ value: false }))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* reason, "Unhealthy")
      assert.isUndefined(connection.link())
      const before = call.frames
      yield* TestClock.adjust("1 minute")
      assert.isAbove(call.frames, before + 500)
      yield* perform(Action.Healthy({ value: true }))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual(connection.link(), link)
      assert.strictEqual((yield* Worker).dials(), 1)
    }).pipe(Effect.provide(world({ answer: streaming(600, 100) }))))
})

describe("SupervisedConnection, reloading", () => {
  it.effect("is Reloading while Health says so, and knows the ETA", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Reload({ seconds: 30, eta: true, gone: false }))
      yield* TestClock.adjust("5 seconds")
      const connection = yield* WorkerConnection
      const state = connection.current()
      assert(state._tag === "Reloading")
      assert.strictEqual(state.until, 30_000)
      assert.isUndefined(connection.link())
      assert.isAtLeast(connection.retryAfterMillis(), 25_000 * 0.8)
      assert.isAtMost(connection.retryAfterMillis(), 25_000 * 1.2)
      yield* TestClock.adjust("24 seconds")
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tag, "Connected")
      assert.deepStrictEqual((yield* Told).states, ["Connected", "Reloading", "Connected"])
    }).pipe(Effect.provide(world())))

  it.effect("believes an announcement until the ETA, although Health still answers", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      yield* connection.announceReload(12)
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("11999 millis")
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world())))

  it.effect("asks the worker at once when it is announced ready", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      yield* connection.announceReload(undefined)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("1 second")
      yield* connection.announceReady
      yield* settle
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world())))

  it.effect("does not take an announcement of readiness for a proof", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      yield* connection.announceReload(60)
      yield* perform(Action.Die())
      yield* connection.announceReady
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* tag, "Reloading")
    }).pipe(Effect.provide(world())))

  it.effect("stays Reloading while the socket vanishes and returns", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      yield* connection.announceReload(40)
      yield* perform(Action.Vanish())
      yield* TestClock.adjust("25 seconds")
      assert.strictEqual(yield* tag, "Reloading")
      yield* perform(Action.ComeBack())
      // The new process has answered: the reload is over, before its ETA.
      assert.strictEqual(yield* tag, "Connected")
      assert.deepStrictEqual((yield* Told).states.filter((state) => state !== "Reloading"), ["Connected", "Connected"])
    }).pipe(Effect.provide(world())))

  it.effect("ends a reload that was announced while there was no link with the answer of the next one", () =>
    Effect.gen(function*() {
      yield* settle
      const connection = yield* WorkerConnection
      yield* connection.announceReload(undefined)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* tag, "Reloading")
      yield* perform(Action.ComeBack())
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world({ running: false }))))

  it.effect("waits for a worker that is back and still loads", () =>
    Effect.gen(function*() {
      yield* settle
      yield* (yield* WorkerConnection).announceReload(undefined)
      yield* perform(Action.Vanish())
      yield* TestClock.adjust("3 seconds")
      const worker = yield* Worker
      yield* worker.perform(Action.ComeBack())
      yield* worker.perform(Action.Reload({ seconds: 50, eta: false, gone: false }))
      yield* TestClock.adjust("49 seconds")
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world())))

  it.effect("is Disconnected after max_reload_secs, until the worker has really finished", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Reload({ seconds: 900, eta: false, gone: false }))
      yield* TestClock.adjust("604999 millis")
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* reason, "ReloadTooLong")
      yield* TestClock.adjust("4 minutes")
      assert.strictEqual(yield* reason, "ReloadTooLong")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world())))

  it.effect("is Disconnected after max_reload_secs when the worker does not return", () =>
    Effect.gen(function*() {
      yield* settle
      yield* (yield* WorkerConnection).announceReload(10)
      yield* perform(Action.Vanish())
      yield* TestClock.adjust("599 seconds")
      assert.strictEqual(yield* tag, "Reloading")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tag, "Disconnected")
      yield* perform(Action.ComeBack())
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world())))
})

describe("SupervisedConnection, coming back", () => {
  const dialTimes = (seconds: number) =>
    Effect.gen(function*() {
      const worker = yield* Worker
      const times: Array<number> = []
      let seen = 0
      for (let second = 0; second <= seconds * 10; second++) {
        if (worker.dials() > seen) times.push(second / 10)
        seen = worker.dials()
        yield* TestClock.adjust("100 millis")
      }
      return times
    })

  it.effect("tries max_reconnect_attempts times with growing waits, then once each interval, for ever", () =>
    Effect.gen(function*() {
      const times = yield* dialTimes(120)
      const waits = times.slice(1).map((time, n) => time - times[n]!)
      // 2 s and 4 s, ±20 %, seen to a tenth of a second.
      assert.closeTo(waits[0]!, 2, 0.501)
      assert.closeTo(waits[1]!, 4, 0.901)
      for (const wait of waits.slice(5)) assert.closeTo(wait, 5, 0.101)
      assert.isAbove(times.length, 22)
      const exhausted = (yield* Told).log.filter((line) => line.includes("[health] max_reconnect_attempts"))
      assert.strictEqual(exhausted.length, 1)
      yield* TestClock.adjust("6 hours")
      assert.isAbove((yield* Worker).dials(), 4_250)
      yield* perform(Action.ComeBack())
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world({ running: false, watch: false }))))

  it.effect("never ends the first phase with max_reconnect_attempts = 0", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      assert.isAbove((yield* Worker).dials(), 700)
      assert.deepStrictEqual((yield* Told).log.filter((line) => line.includes("max_reconnect_attempts")), [])
    }).pipe(Effect.provide(world({ running: false, watch: false }, { health: { max_reconnect_attempts: 0 } }))))

  it.effect("gives the same waits for the same seed", () => {
    const run = Effect.scoped(
      dialTimes(20).pipe(Effect.provide(Layer.fresh(world({ running: false, watch: false }))), Random.withSeed("seed"))
    )
    return Effect.gen(function*() {
      const first = yield* run
      assert.deepStrictEqual(yield* run, first)
    })
  })

  it.effect("dials as soon as the watch sees the socket", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      const before = (yield* Worker).dials()
      yield* perform(Action.ComeBack())
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual((yield* Worker).dials(), before + 1)
    }).pipe(Effect.provide(world({ running: false }, { health: { reconnect_delay_secs: 3600 } }))))

  it.effect("dials again within milliseconds when a server has bound its socket and does not listen yet", () => {
    const refusals = new Refusals()
    return Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      refusals.left = 3
      yield* perform(Action.ComeBack())
      // The watch has woken it; that nobody listens yet is no news for an operator.
      assert.strictEqual(refusals.left, 2)
      assert.strictEqual(yield* reason, "SocketMissing")
      yield* TestClock.adjust("170 millis")
      assert.strictEqual(yield* tag, "Connected")
      assert.deepStrictEqual((yield* Told).log.filter((line) => line.includes("ConnectionRefused")), [])
    }).pipe(Effect.provide(world({ running: false }, {}, refusals)))
  })

  it.effect("does not wait for a frozen worker when another takes over its address", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Hang())
      yield* (yield* WorkerConnection).reconnect
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tag, "Connecting")
      yield* perform(Action.Replace())
      assert.strictEqual(yield* tag, "Connected")
    }).pipe(Effect.provide(world())))

  it.effect("moves to the worker that has taken over the address, and lets the running call finish", () =>
    Effect.gen(function*() {
      yield* settle
      const old = yield* theLink
      const call = openCall(old)
      yield* TestClock.adjust("1 second")
      yield* perform(Action.Replace())
      const connection = yield* WorkerConnection
      assert.strictEqual(yield* tag, "Connected")
      assert.notStrictEqual(connection.link(), old)
      openCall(yield* theLink)
      const worker = yield* Worker
      assert.deepStrictEqual(worker.streams().map((stream) => stream.process), [1, 2])
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(call.end?.status.code, 0)
      assert.strictEqual(call.frames, 101)
      assert.strictEqual(worker.openLinks(), 1)
      assert.deepStrictEqual((yield* Told).states, ["Connected"])
    }).pipe(Effect.provide(world({ answer: streaming(10, 100) }))))

  it.effect("stays with the old worker until the new one is ready", () =>
    Effect.gen(function*() {
      yield* settle
      const old = yield* theLink
      const worker = yield* Worker
      yield* worker.perform(Action.Replace())
      yield* worker.perform(Action.Reload({ seconds: 20, eta: true, gone: false }))
      yield* TestClock.adjust("19 seconds")
      const connection = yield* WorkerConnection
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual(connection.link(), old)
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual(yield* tag, "Connected")
      assert.notStrictEqual(connection.link(), old)
      assert.strictEqual(worker.openLinks(), 1)
    }).pipe(Effect.provide(world())))

  it.effect("does not loop hot on a worker that accepts, answers Health and breaks", () =>
    Effect.gen(function*() {
      yield* settle
      const worker = yield* Worker
      let breaks = 0
      for (let step = 0; step < 6000; step++) {
        if ((yield* tag) === "Connected") {
          breaks++
          yield* worker.perform(Action.BreakLinks())
        }
        yield* TestClock.adjust("10 millis")
      }
      assert.isAbove(breaks, 8)
      assert.isBelow(breaks, 20)
    }).pipe(Effect.provide(world())))

  it.effect("dials at once when a link breaks that had been up for a while", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      yield* perform(Action.BreakLinks())
      assert.strictEqual(yield* tag, "Connected")
      assert.strictEqual((yield* Worker).dials(), 2)
    }).pipe(Effect.provide(world())))
})

describe("SupervisedConnection, for its users", () => {
  it.effect("shares one probe among all who ask for Health", () =>
    Effect.gen(function*() {
      yield* settle
      const before = yield* healthCalls
      const connection = yield* WorkerConnection
      yield* (yield* Worker).healthMetrics({ requests_inflight: "3" })
      const answers = yield* Effect.forEach(Array.from({ length: 50 }), () => connection.health, {
        concurrency: "unbounded"
      })
      assert.strictEqual(yield* healthCalls, before + 1)
      for (const answer of answers) {
        assert.deepStrictEqual(answer, { healthy: true, metrics: { backend: "scripted", requests_inflight: "3" } })
      }
      assert.deepStrictEqual(connection.lastHealth(), answers[0])
    }).pipe(Effect.provide(world())))

  it.effect("lets an asker go without ending the probe of the others", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Hang())
      const connection = yield* WorkerConnection
      const one = yield* Effect.forkChild(connection.health, { startImmediately: true })
      const other = yield* Effect.forkChild(connection.health, { startImmediately: true })
      yield* Fiber.interrupt(one)
      yield* perform(Action.Wake())
      assert.isTrue((yield* Fiber.join(other)).healthy)
    }).pipe(Effect.provide(world())))

  it.effect("answers Health with healthy = false and a reason when there is no worker", () =>
    Effect.gen(function*() {
      yield* settle
      const { health } = yield* WorkerConnection
      assert.deepStrictEqual(yield* health, { healthy: false, metrics: { reason: "SocketMissing" } })
    }).pipe(Effect.provide(world({ running: false }))))

  it.effect("does not count the probes that others ask for towards failure_threshold", () =>
    Effect.gen(function*() {
      yield* settle
      yield* perform(Action.Hang())
      const connection = yield* WorkerConnection
      const asking = yield* Effect.forkChild(Effect.forever(connection.health), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* tag, "Connected")
      yield* Fiber.interrupt(asking)
    }).pipe(Effect.provide(world())))

  it.effect("probes soon when a stream suspects the link, and not for each of a thousand", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("7 seconds")
      const before = yield* healthCalls
      const connection = yield* WorkerConnection
      for (let n = 0; n < 1000; n++) connection.suspect()
      yield* settle
      assert.strictEqual(yield* healthCalls, before + 1)
      for (let n = 0; n < 1000; n++) connection.suspect()
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* healthCalls, before + 1)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* healthCalls, before + 2)
    }).pipe(Effect.provide(world())))

  it.effect("tells a refused gateway to come back when the next dial is due, spread by 20 %", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("5 minutes")
      const connection = yield* WorkerConnection
      const state = connection.current()
      assert(state._tag === "Disconnected" && state.retryAt !== undefined)
      const wait = state.retryAt - 300_000
      const hints = Array.from({ length: 200 }, () => connection.retryAfterMillis())
      for (const hint of hints) {
        assert.isAtLeast(hint, Math.max(500, Math.floor(wait * 0.8)))
        assert.isAtMost(hint, Math.max(500, Math.ceil(wait * 1.2)))
      }
      if (wait > 1000) assert.isAbove(new Set(hints).size, 20)
    }).pipe(Effect.provide(world({ running: false, watch: false }))))

  it.effect("drops the link and dials anew when told to", () =>
    Effect.gen(function*() {
      yield* settle
      const old = yield* theLink
      const call = openCall(old)
      yield* TestClock.adjust("1 second")
      const connection = yield* WorkerConnection
      yield* connection.reconnect
      yield* settle
      assert.strictEqual(call.end?.reason, "transport")
      assert.strictEqual(yield* tag, "Connected")
      assert.notStrictEqual(connection.link(), old)
      assert.strictEqual((yield* Worker).openLinks(), 1)
    }).pipe(Effect.provide(world({ answer: streaming(10, 100) }))))

  it.effect("emits every change, and awaitConnected completes with the worker", () =>
    Effect.gen(function*() {
      const connection = yield* WorkerConnection
      const seen = yield* connection.changes.pipe(
        Stream.takeUntil((state) => state._tag === "Connected"),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      const waiting = yield* Effect.forkChild(connection.awaitConnected, { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* perform(Action.ComeBack())
      yield* Fiber.join(waiting)
      const tags = (yield* Fiber.join(seen)).map((state) => state._tag)
      // The attempts and their waits are changes too.
      assert.isAtLeast(tags.filter((tag) => tag === "Disconnected").length, 2)
      assert.strictEqual(tags.at(-1), "Connected")
    }).pipe(Effect.provide(world({ running: false }))))

  it.effect("closes its links and ends their calls with its scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(world({ answer: Answer.silence }), scope)
      yield* Effect.gen(function*() {
        yield* settle
        const call = openCall(yield* theLink)
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(call.end?.reason, "transport")
        assert.strictEqual((yield* Worker).openLinks(), 0)
        assert.strictEqual(yield* reason, "Stopped")
        const { dials } = yield* Worker
        const before = dials()
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(dials(), before)
      }).pipe(Effect.provide(context))
    }))
})
