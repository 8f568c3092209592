import { Effect, Fiber } from "effect"
import { Roster } from "./roster.ts"

/**
 * Fibers that come and go with calls and streams. What `Fiber.runIn` does, without an entry in the scope's `Map` for each: see {@link Roster} for what
 * that costs. Whoever makes it interrupts them all when its scope closes.
 */
export class FiberRoster {
  readonly #fibers = new Roster<Fiber.Fiber<unknown, unknown>>()

  own(fiber: Fiber.Fiber<unknown, unknown>): void {
    const place = this.#fibers.add(fiber)
    fiber.addObserver(() => this.#fibers.remove(place, fiber))
  }

  /** Completes when all of them have ended. */
  readonly interruptAll: Effect.Effect<void> = Effect.suspend(() => Fiber.interruptAll(this.#fibers.all()))
}
