import type { Admission } from "../../services/InferenceProxy.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import * as E from "../../services/StreamError.ts"
import type { WorkerConnection } from "../../services/WorkerConnection.ts"
import { holdPatience } from "./holdPatience.ts"
import type { PlaceQueue } from "./placeQueue.ts"
import type { WaitingRoom } from "./waitingRoom.ts"
import type { Watchdog, Watched } from "./watchdog.ts"
import { workerUnavailable } from "./workerUnavailable.ts"

/** The facts on which a stream is admitted. */
export interface AdmissionFacts {
  readonly connection: WorkerConnection["Service"]
  readonly room: WaitingRoom
  readonly places: PlaceQueue
  readonly settings: Settings
  readonly draining: () => boolean
  readonly inFlight: () => number
  /** Milliseconds until the open circuit lets a stream through; 0: it does. */
  readonly circuitMillis: () => number
}

/** Why a stream that comes now is turned away before it has a record; `undefined`: it is not. */
export const refusalAtTheDoor = (facts: AdmissionFacts): (() => E.StreamError) | undefined => {
  const { connection, settings } = facts
  if (facts.draining()) return () => new E.Draining({ delivered: 0 })
  const limit = settings.server.max_concurrent_streams
  if (facts.inFlight() >= limit) return () => new E.TooManyStreams({ limit })
  return connection.link() === undefined && patience(facts) <= 0 ? () => workerUnavailable(connection) : undefined
}

/** How long a stream that comes now is held, without a link, in milliseconds; 0: not at all. */
const patience = ({ connection, settings: { reload } }: AdmissionFacts): number =>
  holdPatience(false, {
    connection,
    holdMillis: reload.hold_timeout_secs * 1000,
    holdOnDisconnectMillis: reload.hold_on_disconnect_secs * 1000
  })

/** What would become of a stream that came now. */
export const admissionOf = (facts: AdmissionFacts): Admission => {
  const { connection, places, room, settings } = facts
  const refused = (error: () => E.StreamError): Admission => ({ _tag: "Refused", error })
  const atTheDoor = refusalAtTheDoor(facts)
  if (atTheDoor !== undefined) return refused(atTheDoor)
  const isUp = connection.link() !== undefined
  if (!isUp || room.keepsOrder) {
    if (room.isFull) return refused(() => new E.HoldFull({ retryAfterMillis: connection.retryAfterMillis() }))
    const patienceMillis = isUp ? settings.reload.hold_timeout_secs * 1000 : patience(facts)
    return { _tag: "Held", patienceMillis }
  }
  const retryAfterMillis = facts.circuitMillis()
  if (retryAfterMillis > 0) return refused(() => new E.CircuitOpen({ retryAfterMillis }))
  return places.isFull
    ? refused(() => new E.QueueFull({ retryAfterMillis: connection.retryAfterMillis() }))
    : { _tag: "Served" }
}

/**
 * Whether gateways should send streams here. A hold without a reload promises nothing: it counts only for as long as one
 * stream would be held, from the loss of the worker on.
 */
export const isReady = (admission: Admission, { connection, settings }: AdmissionFacts): boolean => {
  if (admission._tag !== "Held") return admission._tag === "Served"
  const { _tag } = connection.current()
  if (_tag === "Connected") return true
  if (settings.health.ready_when === "connected") return false
  return _tag === "Reloading" || connection.elapsedMillis() < admission.patienceMillis
}

/** Tells when readiness changes: at each {@link look}, and when a time comes that changes it by itself. */
export class ReadyWatch implements Watched {
  watchPlace = -1
  readonly #facts: AdmissionFacts
  readonly #watchdog: Watchdog
  readonly #listeners = new Set<() => void>()
  #ready: boolean
  #changesAt = Number.POSITIVE_INFINITY

  constructor(facts: AdmissionFacts, watchdog: Watchdog) {
    this.#facts = facts
    this.#watchdog = watchdog
    this.#ready = this.#now()
    watchdog.add(this)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Something has happened that may matter. */
  look(): void {
    const ready = this.#now()
    this.#changesAt = this.#watchdog.now() + this.#changesInMillis()
    this.#watchdog.nearer(this.#changesAt)
    if (ready === this.#ready) return
    this.#ready = ready
    for (const listener of this.#listeners) listener()
  }

  dueAt(): number {
    return this.#changesAt
  }

  due(): void {
    this.look()
  }

  #now(): boolean {
    return isReady(admissionOf(this.#facts), this.#facts)
  }

  /** Until time alone changes the answer. */
  #changesInMillis(): number {
    const { circuitMillis, connection, settings: { reload } } = this.#facts
    const times = [circuitMillis()]
    if (connection.current()._tag === "Reloading") {
      times.push((connection.dueInMillis() ?? 0) - reload.hold_timeout_secs * 1000)
    } else if (connection.link() === undefined) {
      times.push(reload.hold_on_disconnect_secs * 1000 - connection.elapsedMillis())
    }
    // A moment later, so that the time has passed and not only come.
    return Math.min(Number.POSITIVE_INFINITY, ...times.filter((millis) => millis > 0)) + 1
  }
}
