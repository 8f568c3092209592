import { Clock, Context, Duration, Effect, type Exit, type Fiber, Metric, type Scheduler } from "effect"
import type { Chance } from "./chance.ts"

/**
 * How the machine behaves under the program. All of it can happen on a real one: a task may take its time (garbage
 * collection, a busy neighbour), tasks that are ready at the same time run in any order, a fiber may be asked to yield
 * between any two of its steps, and a timer may fire a part of a millisecond early.
 */
export interface Machine {
  /** Probability that time passes before a task runs: usually a little, now and then up to 50 ms. */
  readonly stall: number
  /** Whether tasks that are ready together run in the order of chance. */
  readonly shuffle: boolean
  /** Probability that a fiber yields at one of its steps. */
  readonly yields: number
  /** Whether timers fire up to a millisecond early, as Node's do. */
  readonly earlyTimers: boolean
}

interface Sleeper {
  readonly at: number
  readonly order: number
  readonly wake: () => void
}

interface Task {
  readonly run: () => void
  readonly priority: number
}

/** Nothing runs any more, and the program has not ended. */
export class Deadlock extends Error {
  override readonly name = "Deadlock"
}

/** So many tasks ran within one moment of virtual time: a loop without a pause. */
export class HotLoop extends Error {
  override readonly name = "HotLoop"
}

const TASKS_AT_ONCE = 200_000
/** How many of the ready tasks are shuffled: far ahead of its turn nothing runs. */
const SHUFFLED = 6
const STALL_MAX_MICROS = 3000
const LONG_STALL_MAX_MICROS = 50_000
const LONG_STALL = 0.004

/**
 * Virtual time with seeded chance: the Clock and the Scheduler of one simulated program. Every task of every fiber passes
 * through it, so the same seed gives the same run, and time passes also between the steps of a program that is busy:
 * that is what finds races. Without chance in it (`stall` 0 …) it is the shortest correct run.
 */
export class VirtualTime implements Clock.Clock, Scheduler.Scheduler {
  readonly executionMode = "async"
  readonly #chance: Chance
  readonly #machine: Machine
  readonly #ready: Array<Task> = []
  /** Ordered by time, the latest first. */
  readonly #sleepers: Array<Sleeper> = []
  #micros = 0
  #order = 0
  #atOnce = 0
  #fibers = 0
  tasks = 0

  constructor(chance: Chance, machine: Machine) {
    this.#chance = chance
    this.#machine = machine
  }

  // Clock. The wall clock stands somewhere else than the monotonic one, as it does.

  currentTimeMillisUnsafe(): number {
    return Math.floor(this.#micros / 1000)
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.#micros) * 1000n
  }
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  monotonicTimeNanosUnsafe(): bigint {
    return BigInt(this.#micros) * 1000n + 7_777_777_777n
  }
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Duration.toMillis(duration)
    if (millis <= 0) return Effect.yieldNow
    if (!Number.isFinite(millis)) return Effect.never
    return Effect.callback((resume) => {
      const early = this.#machine.earlyTimers ? this.#chance.int(0, 900) : 0
      // A timer counts whole milliseconds, and at least one.
      const micros = Math.max(1, Math.trunc(millis)) * 1000
      const sleeper: Sleeper = {
        at: this.#micros + Math.max(1, micros - early),
        order: ++this.#order,
        wake: () => resume(Effect.void)
      }
      this.#insert(sleeper)
      return Effect.sync(() => {
        const index = this.#sleepers.indexOf(sleeper)
        if (index >= 0) this.#sleepers.splice(index, 1)
      })
    })
  }

  // Scheduler.

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= 2048 || (this.#machine.yields > 0 && this.#chance.yes(this.#machine.yields))
  }
  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (run, priority) => void this.#ready.push({ run, priority }),
      flush: () => {}
    }
  }

  /** Fibers that have not ended, sleeps that nobody has cancelled, tasks that have not run. */
  get left(): { readonly fibers: number; readonly sleepers: number; readonly tasks: number } {
    return { fibers: this.#fibers, sleepers: this.#sleepers.length, tasks: this.#ready.length }
  }

  /** Runs a program to its end, and then what is ready without further time. */
  run<A, E>(program: Effect.Effect<A, E>): Exit.Exit<A, E> {
    const context = Context.make(Clock.Clock, this).pipe(Context.add(Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void this.#fibers++,
      recordFiberEnd: () => void this.#fibers--
    }))
    const fiber = Effect.runForkWith(context)(program, { scheduler: this })
    let exit = fiber.pollUnsafe()
    while (exit === undefined) {
      if (!this.#step()) throw new Deadlock(`nothing left to do at ${this.currentTimeMillisUnsafe()} ms`)
      exit = fiber.pollUnsafe()
    }
    while (this.#ready.length > 0) this.#runNext()
    return exit
  }

  #step(): boolean {
    const { stall } = this.#machine
    if (stall > 0 && this.#chance.yes(stall)) this.#stall()
    if (this.#ready.length > 0) {
      this.#runNext()
      return true
    }
    const next = this.#sleepers.at(-1)
    if (next === undefined) return false
    this.#moveTo(next.at)
    return true
  }

  #runNext(): void {
    const ready = this.#ready
    const index = this.#machine.shuffle && ready.length > 1
      ? this.#chance.int(0, Math.min(SHUFFLED, ready.length) - 1)
      : 0
    const [task] = ready.splice(index, 1)
    this.tasks++
    if (++this.#atOnce > TASKS_AT_ONCE) {
      throw new HotLoop(`${TASKS_AT_ONCE} tasks within ${this.currentTimeMillisUnsafe()} ms`)
    }
    task?.run()
  }

  #stall(): void {
    const most = this.#chance.yes(LONG_STALL) ? LONG_STALL_MAX_MICROS : STALL_MAX_MICROS
    this.#moveTo(this.#micros + this.#chance.int(1, most))
  }

  /** Time passes; who has slept enough wakes. */
  #moveTo(micros: number): void {
    if (Math.floor(micros / 1000) > Math.floor(this.#micros / 1000)) this.#atOnce = 0
    this.#micros = Math.max(this.#micros, micros)
    while (true) {
      const next = this.#sleepers.at(-1)
      if (next === undefined || next.at > this.#micros) return
      this.#sleepers.pop()
      // In a turn of its own, as a timer's callback runs.
      this.#ready.push({ run: next.wake, priority: 0 })
    }
  }

  #insert(sleeper: Sleeper): void {
    const sleepers = this.#sleepers
    let low = 0
    let high = sleepers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sleepers[middle]?.at ?? 0) > sleeper.at) low = middle + 1
      else high = middle
    }
    sleepers.splice(low, 0, sleeper)
  }
}
