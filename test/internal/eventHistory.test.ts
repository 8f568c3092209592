import { assert, describe, it } from "vitest"
import { EventHistory, eventWords } from "../../src/internal/ops/eventHistory.ts"
import type { PastEvent } from "../../src/services/PastEvent.ts"
import { SidecarEvent } from "../../src/services/SidecarEvents.ts"
import { WorkerState } from "../../src/services/WorkerConnection.ts"

/** A history with a clock that the test moves. */
const makeHistory = () => {
  const time = { now: 0 }
  const history = new EventHistory({ wall: () => Date.UTC(2026, 0, 2) + time.now, monotonic: () => time.now })
  const become = (state: WorkerState) => history.note(SidecarEvent.WorkerChanged({ state }))
  return { become, history, time }
}

const connected = WorkerState.Connected({ since: 0 })
const gone = (reason: "SocketMissing" | "HealthTimeout") =>
  WorkerState.Disconnected({
    since: 0,
    reason,
    detail: "nobody there",
    remedy: "start the worker",
    attempt: 1,
    retryAt: undefined
  })

const brief = ({ kind, lasting, reason, seconds }: PastEvent) => [kind, reason, seconds, lasting]

describe("EventHistory", () => {
  it("tells each status with its reason and its length, and that of now as lasting", () => {
    const { become, history, time } = makeHistory()
    become(connected)
    time.now = 10_000
    become(WorkerState.Reloading({ since: 0, until: 40_000 }))
    time.now = 25_000
    become(gone("SocketMissing"))
    time.now = 27_000
    become(gone("HealthTimeout"))
    time.now = 30_500
    become(connected)
    time.now = 31_000
    assert.deepStrictEqual(history.recent().map(brief), [
      ["worker", null, 10, false],
      ["reload", "Reloading", 15, false],
      ["worker", "SocketMissing", 2, false],
      ["worker", "HealthTimeout", 3.5, false],
      ["worker", null, 0.5, true]
    ])
    const [first, , third, , last] = history.recent()
    assert.strictEqual(first?.at, "2026-01-02T00:00:00.000Z")
    assert.strictEqual(third?.text, "worker not connected (SocketMissing): nobody there; start the worker")
    assert.strictEqual(last?.text, "connected to worker, after 4s of HealthTimeout")
  })

  it("tells when a worker is saturated, and when it is no more", () => {
    const { become, history } = makeHistory()
    become(connected)
    become(WorkerState.Connected({ since: 0, saturatedSince: 5 }))
    become(WorkerState.Connected({ since: 0, saturatedSince: 5, renewing: true }))
    become(connected)
    assert.deepStrictEqual(history.recent().map(({ reason }) => reason), [null, "Saturated", null])
  })

  it("makes one event of refusals in a row, and another after a minute of quiet", () => {
    const { history, time } = makeHistory()
    for (let at = 0; at <= 100_000; at += 20_000) {
      time.now = at
      history.note(SidecarEvent.Refused({ reason: "worker_disconnected" }))
      history.note(SidecarEvent.Refused({ reason: "hold_full" }))
    }
    assert.deepStrictEqual(history.recent().map((event) => [...brief(event), event.count]), [
      ["refusals", "worker_disconnected", 100, true, 6],
      ["refusals", "hold_full", 100, true, 6]
    ])
    time.now = 160_000
    assert.deepStrictEqual(history.recent().map((event) => [event.lasting, event.seconds]), [[false, 100], [
      false,
      100
    ]])
    history.note(SidecarEvent.Refused({ reason: "hold_full" }))
    const [row, , again] = history.recent()
    assert.deepStrictEqual([again?.reason, again?.count, again?.lasting], ["hold_full", 1, true])
    assert.strictEqual(
      row === undefined ? "" : eventWords(row),
      "streams are refused: worker_disconnected (6 streams within 100s)"
    )
  })

  it("makes one event of records set aside in a row: hundreds of them push nothing out", () => {
    const { become, history, time } = makeHistory()
    become(gone("SocketMissing"))
    become(connected)
    const setAside = SidecarEvent.BillingChanged({ status: "set_aside", detail: "billing: a record was set aside" })
    history.note(setAside)
    assert.strictEqual(history.recent().map(eventWords).at(-1), "billing: a record was set aside")
    for (time.now = 0; time.now < 50_000; time.now += 100) history.note(setAside)
    assert.deepStrictEqual(history.recent().map(({ count, kind }) => [kind, count]), [
      ["worker", 1],
      ["worker", 1],
      ["billing", 501]
    ])
    assert.strictEqual(
      history.recent().map(eventWords).at(-1),
      "billing: a record was set aside (501 times for 50s)"
    )
  })

  it("has a bound on the rows at once, whatever reasons an application invents", () => {
    const { history, time } = makeHistory()
    for (let n = 0; n < 1000; n++) history.note(SidecarEvent.Refused({ reason: `tenant_${n}` }))
    const reasons = history.recent().map(({ count, reason }) => [reason, count])
    assert.strictEqual(reasons.length, 33)
    assert.deepStrictEqual([reasons[0], reasons[31], reasons[32]], [["tenant_0", 1], ["tenant_31", 1], ["other", 968]])
    time.now = 60_000
    history.note(SidecarEvent.Refused({ reason: "tenant_999" }))
    assert.deepStrictEqual(history.recent().filter(({ lasting }) => lasting).map(({ reason }) => reason), [
      "tenant_999"
    ])
  })

  it("raises the revision of what has changed, so that a follower sees each change once", () => {
    const { become, history } = makeHistory()
    become(connected)
    history.note(SidecarEvent.Refused({ reason: "draining" }))
    const seen = Math.max(...history.recent().map(({ revision }) => revision))
    history.note(SidecarEvent.Refused({ reason: "draining" }))
    become(gone("SocketMissing"))
    assert.deepStrictEqual(
      history.recent().filter(({ revision }) => revision > seen).map(({ id, kind }) => [id, kind]),
      [[1, "worker"], [2, "refusals"], [3, "worker"]]
    )
  })

  it("keeps a hundred, and what still lasts longest", () => {
    const { history } = makeHistory()
    history.note(SidecarEvent.DrainChanged({ draining: true }))
    for (let n = 0; n < 500; n++) {
      history.note(SidecarEvent.LimitReached({ limit: "inflate", detail: `the ${n}th`, times: n }))
    }
    const events = history.recent()
    assert.strictEqual(events.length, 100)
    assert.deepStrictEqual([events[0]?.kind, events[1]?.text, events[99]?.count], ["drain", "the 401th", 499])
    history.note(SidecarEvent.DrainChanged({ draining: false }))
    assert.notInclude(history.recent().map(({ reason }) => reason), "Draining")
  })

  it("tells of billing, the journal, the configuration with the words of the log", () => {
    const { history } = makeHistory()
    history.note(SidecarEvent.BillingChanged({ status: "failing", detail: "billing: no report can be delivered" }))
    history.note(SidecarEvent.BillingChanged({ status: "accepted", detail: "billing: reports are accepted again" }))
    history.note(SidecarEvent.JournalChanged({ status: "failing", reason: "full", detail: "usage journal: full" }))
    history.note(SidecarEvent.ConfigReloaded({ changed: ["log_level"], needRestart: ["bind_addr"] }))
    history.note(SidecarEvent.ConfigRejected({ detail: "sidecar.toml: [health] check_interval_secs: …" }))
    assert.deepStrictEqual(history.recent().map(({ kind, level, reason }) => [kind, level, reason]), [
      ["billing", "warn", "failing"],
      ["billing", "info", null],
      ["journal", "warn", "full"],
      ["config", "warn", "needs_restart"],
      ["config", "warn", "rejected"]
    ])
  })
})
