import { Effect, type Fiber, Latch, type Scope, Semaphore } from "effect"
import * as Rpc from "../internal/connection/workerRpc.ts"
import { CONTROL_PATH, HEALTH_PATH } from "../internal/wire/aiContract.ts"
import * as Status from "../services/Status.ts"
import type { FrameBatch, Status as GrpcStatus } from "../services/Wire.ts"
import type { Answer, WorkerSide } from "./Answer.ts"
import { framed, unframed } from "./Messages.ts"
import { type LinkHost, type RecordedCall, type ScriptedCall, ScriptedLink } from "./scriptedLink.ts"

/** What all processes of one worker share. */
export interface ProcessWorld {
  readonly now: () => number
  readonly fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  readonly nextCallId: (path: string) => number
  readonly record: LinkHost["record"]
  readonly recordCall: (call: RecordedCall) => void
  readonly answerFor: (path: string) => Answer | undefined
  readonly health: () => Readonly<Record<string, string>>
  readonly threads: number
  readonly generationSurvivesCancel: boolean
  readonly jitter: Effect.Effect<void>
}

const GOAWAY = "worker said GOAWAY with code 0"

const isStream = (path: string): boolean => path !== HEALTH_PATH && path !== CONTROL_PATH

/** One life of the worker, from its start to its death. */
export class ScriptedProcess implements LinkHost {
  readonly process: number
  readonly links = new Set<ScriptedLink>()
  alive = true
  healthy = true
  healthFails = false
  slowMillis = 0
  breakAfter: number | undefined
  #renewMillis: number | undefined
  reload: { readonly until: number; readonly eta: boolean } | undefined
  /** Closed by SIGSTOP. */
  readonly running = Latch.makeUnsafe(true)
  /** Closed: connections are accepted and never greeted. */
  readonly greets = Latch.makeUnsafe(true)
  /** Closed: every thread is busy. */
  readonly idleThreads = Latch.makeUnsafe(true)
  readonly loadedLatch = Latch.makeUnsafe(true)
  readonly #world: ProcessWorld
  readonly #threads: Semaphore.Semaphore | undefined

  constructor(id: number, world: ProcessWorld) {
    this.process = id
    this.#world = world
    this.#threads = Number.isFinite(world.threads) ? Semaphore.makeUnsafe(world.threads) : undefined
  }

  readonly now = (): number => this.#world.now()
  readonly nextCallId = (path: string): number => this.#world.nextCallId(path)
  readonly record: LinkHost["record"] = (what, detail, call) => this.#world.record(what, detail, call)
  readonly recordCall = (call: RecordedCall): void => this.#world.recordCall(call)

  readonly acknowledge: Effect.Effect<void> = Effect.suspend(() => this.running.await)

  /** A transport, once the process greets. Its scope is the sidecar's end of it. */
  readonly connect: Effect.Effect<ScriptedLink, never, Scope.Scope> = Effect.suspend(() =>
    this.greets.await.pipe(
      Effect.andThen(this.running.await),
      Effect.andThen(Effect.acquireRelease(
        Effect.sync(() => {
          const link = new ScriptedLink(this)
          this.links.add(link)
          if (this.#renewMillis !== undefined) this.#renew(link, this.#renewMillis)
          return link
        }),
        (link) =>
          Effect.sync(() => {
            this.links.delete(link)
            link.break("the sidecar closed the link")
            this.record("link closed", `by the sidecar, process ${this.process}`)
          })
      ))
    )
  )

  /** GOAWAY on every link. */
  sayGoodbye(): void {
    for (const link of Array.from(this.links)) link.leave("GoingAway", GOAWAY)
  }

  /** The grace is over: what still runs is told so, and the process ends. Not before SIGCONT, if it stands still. */
  readonly dismiss: Effect.Effect<void> = Effect.suspend(() =>
    Effect.andThen(
      this.running.await,
      Effect.sync(() => {
        if (!this.alive) return
        for (const link of Array.from(this.links)) {
          for (const call of Array.from(link.calls)) call.dismiss()
        }
        this.kill("the worker closed the connection")
      })
    )
  )

  /** From now on every link is sent GOAWAY when it is that old; 0: no more. */
  renewEach(millis: number): void {
    this.#renewMillis = millis > 0 ? millis : undefined
    for (const link of this.links) this.#renew(link, millis)
  }

  #renew(link: ScriptedLink, millis: number): void {
    const renewal = Effect.andThen(
      this.running.await,
      Effect.sync(() => {
        if (this.#renewMillis === millis && this.links.has(link)) link.leave("GoingAway", GOAWAY)
      })
    )
    if (millis > 0) this.#world.fork(Effect.andThen(Effect.sleep(millis), renewal))
  }

  kill(detail: string): void {
    this.alive = false
    for (const link of Array.from(this.links)) link.break(detail)
    this.links.clear()
  }

  readonly serve = (call: ScriptedCall): void => {
    const work = Effect.yieldNow.pipe(
      Effect.andThen(this.running.await),
      Effect.andThen(this.#onThread(Effect.suspend(() => this.#answer(call)))),
      Effect.andThen((status) =>
        Effect.andThen(
          this.running.await,
          Effect.sync(() => call.answer(status))
        )
      )
    )
    const fiber = this.#world.fork(work)
    call.onGone = () => {
      const survives = this.#world.generationSurvivesCancel && isStream(call.seen.path) &&
        call.seen.end?.fate === "cancelled"
      if (!survives) fiber.interruptUnsafe()
    }
  }

  #onThread<A>(work: Effect.Effect<A>): Effect.Effect<A> {
    const free = Effect.andThen(this.idleThreads.await, work)
    return this.#threads === undefined ? free : this.#threads.withPermits(1)(free)
  }

  #answer(call: ScriptedCall): Effect.Effect<GrpcStatus> {
    const answer = this.#world.answerFor(call.seen.path) ?? this.#builtIn(call.seen.path)
    return answer(this.#side(call))
  }

  #builtIn(path: string): Answer {
    switch (path) {
      case HEALTH_PATH:
        return (side) => Effect.andThen(side.request, this.#answerHealth(side))
      case CONTROL_PATH:
        return (side) => Effect.flatMap(side.request, (request) => this.#answerControl(side, request))
      default:
        return () => Effect.succeed(Status.make(Status.Code.UNIMPLEMENTED, `unknown method ${path}`))
    }
  }

  #answerHealth(side: WorkerSide): Effect.Effect<GrpcStatus> {
    return Effect.suspend(() => {
      if (this.healthFails) return Effect.succeed(Status.make(Status.Code.UNIMPLEMENTED, "Method not found!"))
      const { reload } = this
      const loading = reload === undefined ? {} : {
        status: "reloading",
        ...(reload.eta ? { eta_seconds: String(Math.max(0, (reload.until - this.now()) / 1000)) } : {})
      }
      const metrics = { backend: "scripted", ...this.#world.health(), ...loading }
      const message = Rpc.encodeHealthResponse({ healthy: this.healthy, metrics })
      return Effect.as(side.send(framed(message)), Status.ok)
    })
  }

  #answerControl(side: WorkerSide, request: Uint8Array | undefined): Effect.Effect<GrpcStatus> {
    const message = Rpc.decodeControl(request ?? new Uint8Array())
    const command = message?.command ?? ""
    const known = ["ping", "list_models", "unload_model"].includes(command)
    const payload = known ? { status: "ok" } : { status: "error", error: `unknown command ${command}` }
    const reply = { traceId: message?.traceId ?? "", command: `${command}_response`, payload }
    return Effect.as(side.send(framed(Rpc.encodeControl(reply))), Status.ok)
  }

  #side(call: ScriptedCall): WorkerSide {
    const send = (batch: FrameBatch) =>
      Effect.gen({ self: this }, function*() {
        if (this.slowMillis > 0) yield* Effect.sleep(this.slowMillis)
        if (isStream(call.seen.path)) yield* this.#world.jitter
        yield* this.running.await
        yield* call.room
        call.send(batch)
        if (isStream(call.seen.path)) this.#countDown(unframed(batch).length)
      })
    return {
      call: call.seen,
      request: call.firstRequest,
      headers: (metadata) => Effect.andThen(this.running.await, Effect.sync(() => call.headers(metadata))),
      send,
      loaded: Effect.suspend(() => this.loadedLatch.await),
      isLoading: () => this.reload !== undefined
    }
  }

  /** `break after n frames`. */
  #countDown(frames: number): void {
    if (this.breakAfter === undefined) return
    this.breakAfter -= frames
    if (this.breakAfter > 0) return
    this.breakAfter = undefined
    // Not from within the script that has just sent: its own fiber is about to be interrupted.
    this.#world.fork(Effect.sync(() => {
      for (const link of Array.from(this.links)) link.break("the worker closed the connection")
    }))
  }
}
