import type { PastEvent } from "../../services/PastEvent.ts"
import type { SidecarEvent } from "../../services/SidecarEvents.ts"
import { WorkerState } from "../../services/WorkerConnection.ts"
import { sayChange } from "../connection/connectionLog.ts"
import { SATURATED_REMEDY } from "../connection/statusWords.ts"
import { counted, lasting } from "../words.ts"

/** Events that are kept. */
const MOST = 100
/** What comes in a row (refusals for one reason, records set aside) is one event until so long has passed without one. Milliseconds. */
const ROW_MILLIS = 60_000
/** Rows at once: the reasons of an application's hooks are its own, and may be without end. */
const MOST_ROWS = 32

/** The clocks of a history, in milliseconds. */
export interface HistoryClocks {
  /** For people. */
  readonly wall: () => number
  /** For durations. */
  readonly monotonic: () => number
}

/** One event while it may still change. */
interface Entry {
  readonly id: number
  revision: number
  readonly at: number
  readonly beganAt: number
  readonly kind: PastEvent["kind"]
  readonly level: PastEvent["level"]
  readonly reason: string | null
  readonly text: string
  count: number
  lasting: boolean
  /** Monotonic; `undefined`: it has no length, or lasts. */
  endedAt: number | undefined
  /** The last of a row. Monotonic. */
  lastAt: number
}

type Note = Pick<Entry, "kind" | "level" | "reason" | "text"> & {
  readonly count?: number | undefined
  /** It is a state and not a moment. */
  readonly lasting?: boolean | undefined
}

const rowKey = ({ kind, reason }: Pick<Entry, "kind" | "reason">): string => `${kind} ${reason ?? ""}`

const keyList = (keys: ReadonlyArray<string>): string => keys.join(", ")

const reloaded = (changed: ReadonlyArray<string>, needRestart: ReadonlyArray<string>): string => {
  const now = changed.length === 0 ? "nothing changed" : `changed: ${keyList(changed)}`
  return needRestart.length === 0
    ? `configuration read again; ${now}`
    : `configuration read again; ${now}; needs a restart: ${keyList(needRestart)}`
}

/** What single events are worth in a history; `undefined`: nothing, or not by itself. */
const noteOf = (event: SidecarEvent): Note | undefined => {
  switch (event._tag) {
    case "LimitReached":
      return { kind: "limit", level: "warn", reason: event.limit, text: event.detail, count: event.times }
    case "BillingChanged":
      return {
        kind: "billing",
        level: event.status === "accepted" ? "info" : "warn",
        reason: event.status === "accepted" ? null : event.status,
        text: event.detail
      }
    case "JournalChanged":
      return {
        kind: "journal",
        level: event.status === "ok" ? "info" : "warn",
        reason: event.reason ?? null,
        text: event.detail
      }
    case "DrainChanged":
      return event.draining
        ? {
          kind: "drain",
          level: "warn",
          reason: "Draining",
          text: "draining: new streams are refused, running ones finish"
        }
        : { kind: "drain", level: "info", reason: null, text: "the drain is over: new streams are taken again" }
    case "ConfigReloaded":
      return {
        kind: "config",
        level: event.needRestart.length === 0 ? "info" : "warn",
        reason: event.needRestart.length === 0 ? null : "needs_restart",
        text: reloaded(event.changed, event.needRestart)
      }
    case "ConfigRejected":
      return { kind: "config", level: "warn", reason: "rejected", text: event.detail }
    default:
      return undefined
  }
}

const workerReason = (state: WorkerState): string | null => {
  switch (state._tag) {
    case "Connected":
      return state.saturatedSince === undefined ? null : "Saturated"
    case "Connecting":
      return "Connecting"
    case "Reloading":
      return state.restarting === true ? "Restarting" : "Reloading"
    case "Disconnected":
      return state.reason
  }
}

/** The words of a change; those of the log, and of a saturation, which the log tells by itself. */
const workerNote = (before: WorkerState, after: WorkerState): Note | undefined => {
  const reason = workerReason(after)
  const kind = after._tag === "Reloading" ? "reload" : "worker"
  if (before._tag === "Connected" && after._tag === "Connected") {
    if (reason === workerReason(before)) return undefined
    return reason === null
      ? { kind, level: "info", reason, text: "the worker answers Health again", lasting: true }
      : {
        kind,
        level: "warn",
        reason,
        text: `the worker is saturated: all its threads are busy; ${SATURATED_REMEDY}`,
        lasting: true
      }
  }
  const said = sayChange(before, after)
  if (said === undefined) return undefined
  return { kind, level: said.level === "Info" ? "info" : "warn", reason, text: said.text, lasting: true }
}

/**
 * The last hundred events that an operator should know of. What lasts (a status of the worker, a row of refusals, a drain) is
 * one event with a length, however long it takes.
 */
export class EventHistory {
  readonly #clocks: HistoryClocks
  readonly #entries: Array<Entry> = []
  /** Open rows, by their kind and reason. */
  readonly #rows = new Map<string, Entry>()
  #state: WorkerState
  #worker: Entry | undefined
  #drain: Entry | undefined
  #id = 0
  #revision = 0

  constructor(clocks: HistoryClocks) {
    this.#clocks = clocks
    this.#state = WorkerState.Connecting({ since: clocks.wall(), attempt: 1 })
  }

  note(event: SidecarEvent): void {
    switch (event._tag) {
      case "WorkerChanged":
        return this.#noteWorker(event.state)
      case "Refused":
        return this.#noteRefusal(event.reason)
      default: {
        const note = noteOf(event)
        if (note === undefined) return
        if (event._tag === "BillingChanged" && event.status === "set_aside") return this.#noteRow(note)
        if (event._tag !== "DrainChanged") return void this.#add(note)
        this.#end(this.#drain)
        this.#drain = this.#add({ ...note, lasting: event.draining })
      }
    }
  }

  /** The oldest first. */
  recent(): ReadonlyArray<PastEvent> {
    const now = this.#clocks.monotonic()
    this.#closeRows(now)
    return this.#entries.map((entry) => ({
      id: entry.id,
      revision: entry.revision,
      at: new Date(entry.at).toISOString(),
      kind: entry.kind,
      level: entry.level,
      reason: entry.reason,
      text: entry.text,
      count: entry.count,
      lasting: entry.lasting,
      seconds: entry.lasting
        ? toSeconds(now - entry.beganAt)
        : entry.endedAt === undefined
        ? null
        : toSeconds(entry.endedAt - entry.beganAt)
    }))
  }

  #noteWorker(state: WorkerState): void {
    const before = this.#state
    this.#state = state
    const note = workerNote(before, state)
    if (note === undefined) {
      // Connecting is no event; what was before it is over all the same.
      if (state._tag === "Connecting") this.#worker = this.#end(this.#worker)
      return
    }
    const last = this.#worker
    this.#end(last)
    const length = last === undefined || last.reason === null
      ? ""
      : `, after ${lasting((last.endedAt ?? this.#clocks.monotonic()) - last.beganAt)} of ${last.reason}`
    this.#worker = this.#add(state._tag === "Connected" ? { ...note, text: note.text + length } : note)
  }

  #noteRefusal(word: string): void {
    const isNew = !this.#rows.has(rowKey({ kind: "refusals", reason: word }))
    if (isNew) this.#closeRows()
    const reason = isNew && this.#rows.size >= MOST_ROWS ? "other" : word
    this.#noteRow({ kind: "refusals", level: "warn", reason, text: `streams are refused: ${reason}` })
  }

  #noteRow(note: Note): void {
    const now = this.#clocks.monotonic()
    const key = rowKey(note)
    const row = this.#rows.get(key)
    if (row !== undefined && !this.#closeRow(row, now)) {
      row.count++
      row.lastAt = now
      row.revision = ++this.#revision
      return
    }
    this.#rows.set(key, this.#add({ ...note, lasting: true }))
  }

  #closeRows(now = this.#clocks.monotonic()): void {
    for (const row of this.#rows.values()) this.#closeRow(row, now)
  }

  /** Whether the row is over: nothing was added to it for a while. */
  #closeRow(row: Entry, now: number): boolean {
    if (now - row.lastAt < ROW_MILLIS) return false
    this.#end(row, row.lastAt)
    this.#rows.delete(rowKey(row))
    return true
  }

  #add({ count = 1, lasting = false, ...note }: Note): Entry {
    const now = this.#clocks.monotonic()
    const entry: Entry = {
      ...note,
      id: ++this.#id,
      revision: ++this.#revision,
      at: this.#clocks.wall(),
      beganAt: now,
      count,
      lasting,
      endedAt: undefined,
      lastAt: now
    }
    this.#entries.push(entry)
    if (this.#entries.length > MOST) this.#forget()
    return entry
  }

  /** The oldest goes; what still lasts goes last, since it is what an operator looks for. */
  #forget(): void {
    const oldest = this.#entries.findIndex((entry) => !entry.lasting)
    this.#entries.splice(Math.max(0, oldest), 1)
  }

  #end(entry: Entry | undefined, at = this.#clocks.monotonic()): undefined {
    if (entry === undefined || !entry.lasting) return
    entry.lasting = false
    entry.endedAt = at
    entry.revision = ++this.#revision
  }
}

const toSeconds = (millis: number): number => Math.round(Math.max(0, millis)) / 1000

/** One event in a line of people's words: how often and how long behind it. */
export const eventWords = ({ count, kind, lasting: lasts, reason, seconds, text }: PastEvent): string => {
  const isRow = kind === "refusals" || reason === "set_aside"
  const often = kind === "refusals" ? counted(count, "stream") : count > 1 ? `${count} times` : ""
  const long = seconds === null ? "" : `${lasts ? "for" : "within"} ${lasting(seconds * 1000)}`
  const length = isRow
    ? (often === "" ? "" : long)
    : seconds === null
    ? ""
    : `${lasts ? "lasts" : "lasted"} ${lasting(seconds * 1000)}`
  const behind = [often, length].filter((part) => part !== "").join(" ")
  return behind === "" ? text : `${text} (${behind})`
}
