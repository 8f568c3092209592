import { Deferred, Effect } from "effect"

/** How old an answer may be that is given a second time. */
const maxAgeMillis = 250

/** How often the page is made within that time: whoever asks now and then is always told the truth of this moment. */
const mostFresh = 50

/**
 * Makes a page once for all who ask while it is being made; and when more is asked than a few hundred times a second, the
 * last answer, at most 250 ms old, is given again. What a flood of requests costs the event loop is bounded.
 *
 * `now`: monotonic milliseconds. `maxFresh`: how often it is made within 250 ms. A page that fails is made anew for the
 * next one who asks.
 */
export const sharedAnswer = <A, E>(
  page: Effect.Effect<A, E>,
  now: () => number,
  maxFresh: number = mostFresh
): Effect.Effect<A, E> => {
  let underWay: Deferred.Deferred<A, E> | undefined
  let last: { readonly answer: A } | undefined
  let windowBegan = Number.NEGATIVE_INFINITY
  let made = 0

  const make = Effect.suspend(() => {
    const told = Deferred.makeUnsafe<A, E>()
    underWay = told
    made++
    return page.pipe(
      Effect.tap((answer) => Effect.sync(() => void (last = { answer }))),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          underWay = undefined
          Deferred.doneUnsafe(told, exit)
        })
      )
    )
  })

  return Effect.suspend(() => {
    if (underWay !== undefined) return Deferred.await(underWay)
    const at = now()
    if (at - windowBegan >= maxAgeMillis) {
      windowBegan = at
      made = 0
      last = undefined
    }
    return made >= maxFresh && last !== undefined ? Effect.succeed(last.answer) : make
  })
}
