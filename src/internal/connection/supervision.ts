import { Data } from "effect"

/** When the next dial comes, as the end of the last link demands. */
export type Redial = Data.TaggedEnum<{
  /** The schedule says. */
  Paced: {}
  /** The worker is there: after so many milliseconds. `anew`: and its link had earned a schedule that begins anew. */
  Soon: { readonly afterMillis: number; readonly anew: boolean }
}>
export const Redial = Data.taggedEnum<Redial>()

/** The link for new streams. `S`: what is known of one session. */
export type Link<S> =
  /**
   * None. `toldToGo`: the last one said GOAWAY before it was proved, and that was answered by a dial at once: one that is
   * never proved does not get the next one at once for every GOAWAY in a row.
   */
  | { readonly _tag: "Disconnected"; readonly redial: Redial; readonly toldToGo: boolean }
  /** Its transport is up, and its worker has not proved itself. `age`: of the address when it was dialled. */
  | { readonly _tag: "Pending"; readonly session: S; readonly age: number; readonly toldToGo: boolean }
  /** `provedAt`: monotonic milliseconds. */
  | { readonly _tag: "Connected"; readonly session: S; readonly age: number; readonly provedAt: number }
  /** The sidecar is stopping: no link, and none is wanted. */
  | { readonly _tag: "Stopped" }

/** The worker's address as its watch tells it. */
export interface Address {
  /** Grows when it leads nowhere, or to another process: links of one age lead to the same worker. */
  readonly age: number
  readonly gone: boolean
  /** Something has happened that makes a dial worth while, and none has begun since. */
  readonly news: boolean
}

/** What the supervisor of the connection knows. Every change of it is one of the functions below. */
export interface Supervision<S> {
  readonly link: Link<S>
  readonly address: Address
  /** Some link has been proved. */
  readonly proved: boolean
}

/** A link that was renewed when younger than this is not followed by the next one at once: no worker can make us spin. */
const YOUNG_MILLIS = 100

const atOnce: Redial = Redial.Soon({ afterMillis: 0, anew: false })

/** Before the first dial. */
export const initial: Supervision<never> = {
  link: { _tag: "Disconnected", redial: atOnce, toldToGo: false },
  address: { age: 0, gone: false, news: false },
  proved: false
}

/** The session that new streams would get, proved or not. */
export const sessionOf = <S>({ link }: Supervision<S>): S | undefined => "session" in link ? link.session : undefined

/** Whether the address leads to another worker than it did at `age`. */
export const isOvertaken = <S>({ address }: Supervision<S>, age: number): boolean =>
  address.age !== age && !address.gone

/** Whether another worker has taken the address of the one that serves. */
export const isOutdated = <S>(now: Supervision<S>): boolean => "session" in now.link && isOvertaken(now, now.link.age)

/** A dial begins: it heeds whatever is known of the address. */
export const dialling = <S>(now: Supervision<S>): Supervision<S> =>
  now.address.news ? { ...now, address: { ...now.address, news: false } } : now

/** New streams get this link from now on; it was dialled when the address was of this age. */
export const adopted = <S>(now: Supervision<S>, session: S, age: number): Supervision<S> => ({
  ...dialling(now),
  link: {
    _tag: "Pending",
    session,
    age,
    toldToGo: (now.link._tag === "Disconnected" || now.link._tag === "Pending") && now.link.toldToGo
  }
})

/** The worker behind the link has proved itself; the same object when it had done so before. */
export const proved = <S>(now: Supervision<S>, at: number): Supervision<S> =>
  now.link._tag === "Pending"
    ? { ...now, proved: true, link: { _tag: "Connected", session: now.link.session, age: now.link.age, provedAt: at } }
    : now

/**
 * The link is gone. `politely`: by GOAWAY NO_ERROR. `stableMillis`: a link that was up for less has not earned a schedule
 * that begins anew, since a flapping worker must not make us dial hot.
 *
 * A worker that ends a proved link politely is there and wants a new one, however young the old one was.
 */
export const lost = <S>(
  now: Supervision<S>,
  { at, politely, stableMillis }: {
    readonly at: number
    readonly politely: boolean
    readonly stableMillis: number
  }
): Supervision<S> => {
  const { link } = now
  switch (link._tag) {
    case "Connected": {
      const upMillis = at - link.provedAt
      const redial = politely
        ? Redial.Soon({ afterMillis: upMillis < YOUNG_MILLIS ? YOUNG_MILLIS : 0, anew: true })
        : upMillis >= stableMillis
        ? Redial.Soon({ afterMillis: 0, anew: true })
        : Redial.Paced()
      return { ...now, link: { _tag: "Disconnected", redial: earlier(now, redial), toldToGo: false } }
    }
    case "Pending": {
      const redial = politely && !link.toldToGo ? atOnce : Redial.Paced()
      return { ...now, link: { _tag: "Disconnected", redial: earlier(now, redial), toldToGo: politely } }
    }
    default:
      return now
  }
}

/** Where another worker has the address there is nothing to wait for. */
const earlier = <S>(now: Supervision<S>, redial: Redial): Redial =>
  redial._tag === "Paced" && isOutdated(now) ? atOnce : redial

/** Somebody wants a new link now: the old one is dropped, and waiting is over. */
export const asked = <S>(now: Supervision<S>): Supervision<S> =>
  now.link._tag === "Stopped" ? now : {
    ...now,
    link: {
      _tag: "Disconnected",
      redial: atOnce,
      toldToGo: now.link._tag !== "Connected" && now.link.toldToGo
    }
  }

/** The watch saw a change of the address. A file that appears again below a live link says nothing new. */
export const heard = <S>(now: Supervision<S>, change: "appeared" | "replaced" | "vanished"): Supervision<S> => {
  const { address, link } = now
  if (change === "vanished") return { ...now, address: { ...address, age: address.age + 1, gone: true } }
  if (change === "appeared" && !address.gone && "session" in link) return now
  const age = change === "replaced" ? address.age + 1 : address.age
  return { ...now, address: { age, gone: false, news: true } }
}

/** The sidecar stops. */
export const stopped = <S>(now: Supervision<S>): Supervision<S> => ({ ...now, link: { _tag: "Stopped" } })
