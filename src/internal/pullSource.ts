import { Cause, Effect, type Pull, Stream } from "effect"

/**
 * What a Stream pulls, and how it lets go of it.
 *
 * **Details**
 *
 * V8 allocates a function in the old generation when its literal is assigned to a property (`self.transform = (…) => …`), and
 * Effect makes every Stream with one of those. All that it reaches outlives the minor garbage collections, each time by being
 * copied, until a major one: with all of a stream in it, that was a third of its CPU. So the Stream reaches this object
 * only, which is emptied when it is over.
 */
export class PullSource<A, E = never, R = never> {
  /** What is pulled now; `undefined`: it is over. */
  next: Pull.Pull<readonly [A], E, void, R> | undefined
  readonly stream: Stream.Stream<A, E, R> = Stream.fromPull(
    Effect.succeed(Effect.suspend((): Pull.Pull<readonly [A], E, void, R> => this.next ?? Cause.done()))
  )
}
