import { payloads } from "../internal/wire/frames.ts"
import { PulledRequests } from "../internal/wire/pulledRequests.ts"
import { codeName } from "../services/Status.ts"
import type { Departure, FrameBatch, Metadata, ServerCall, Status } from "../services/Wire.ts"
import { decodeReply, type PredictReply } from "./Messages.ts"

/** What a gateway saw of one call. Times are virtual milliseconds. */
export interface GatewayReply {
  readonly id: number
  readonly startedAt: number
  /** Initial metadata; `undefined` for a Trailers-Only answer. */
  readonly headers: Metadata | undefined
  readonly headersAt: number | undefined
  /** Messages that the gateway has read, byte for byte, without prefixes. */
  readonly messages: ReadonlyArray<Uint8Array>
  /** The same messages decoded, each with its time. */
  readonly replies: ReadonlyArray<PredictReply & { readonly at: number }>
  /** Non-empty chunks that are not loading notices. */
  readonly tokens: ReadonlyArray<string>
  /** Chunks that begin with `[模型加载]`. */
  readonly notices: ReadonlyArray<string>
  /** How it ended; `undefined` when the gateway left first, or it has not ended yet. */
  readonly status: Status | undefined
  /** Frames that the sidecar gave up because the gateway did not read them. */
  readonly abandoned: number
  readonly left: Departure | undefined
  readonly endedAt: number | undefined
  /** When the sidecar's handler had finished its work for the call. */
  readonly handledAt: number | undefined
}

type Writable<T> = {
  -readonly [K in keyof T]: T[K] extends ReadonlyArray<infer A> ? Array<A> : T[K]
}

const NOTICE_PREFIX = "[模型加载]"

/** What a call is made of. */
export interface ServerCallOptions {
  readonly id: number
  readonly path: string
  readonly metadata: Metadata
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly peer: ServerCall["peer"]
  readonly windowBytes: number
  readonly now: () => number
  readonly record: (what: string, detail?: string) => void
  /** Something happened that the script of the gateway may wait for. */
  readonly onProgress: () => void
}

/** One call of a scripted gateway, as the sidecar's handler sees it. */
export class ScriptedServerCall extends PulledRequests implements ServerCall {
  readonly path: string
  readonly metadata: Metadata
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly encoding: string | undefined
  readonly peer: ServerCall["peer"]
  readonly seen: Writable<GatewayReply>
  readonly #options: ServerCallOptions
  #requests: Array<FrameBatch> = []
  #requestsPaused = true
  #halfClosed: "no" | "sent" | "told" = "no"
  #unread: Array<{ readonly message: Uint8Array; readonly size: number }> = []
  #pendingBytes = 0
  #full = false
  #ending: Status | undefined
  /** Reads on arrival. */
  eager = true

  constructor(options: ServerCallOptions) {
    super()
    this.#options = options
    this.path = options.path
    this.metadata = options.metadata
    this.timeoutMillis = options.timeoutMillis
    this.arrivedAt = options.arrivedAt
    this.encoding = undefined
    this.peer = options.peer
    this.seen = {
      id: options.id,
      startedAt: options.now(),
      headers: undefined,
      headersAt: undefined,
      messages: [],
      replies: [],
      tokens: [],
      notices: [],
      status: undefined,
      abandoned: 0,
      left: undefined,
      endedAt: undefined,
      handledAt: undefined
    }
  }

  // The sidecar's side.

  protected readOn(): void {
    this.#requestsPaused = false
    this.#deliver()
  }

  sendHeaders(metadata: Metadata): void {
    if (this.#isOver || this.seen.headers !== undefined) return
    this.seen.headers = metadata
    this.seen.headersAt = this.#options.now()
    this.#options.record("headers")
  }

  write(batch: FrameBatch): boolean {
    if (this.#isOver) return true
    this.sendHeaders({})
    for (const message of payloads(batch)) {
      const size = message.length + 5
      this.#unread.push({ message, size })
      this.#pendingBytes += size
    }
    if (this.eager) this.read(Number.POSITIVE_INFINITY)
    this.#full = this.#pendingBytes >= this.#options.windowBytes
    this.#options.onProgress()
    return this.wrote(!this.#full)
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  end(status: Status, delivery: "flush" | "now" = "flush"): void {
    if (this.#isOver) return
    this.#ending = status
    if (delivery === "now" && this.#unread.length > 0) {
      this.seen.abandoned = this.#unread.length
      this.#unread = []
      this.#pendingBytes = 0
    }
    this.#settle()
    this.#options.onProgress()
  }

  // The gateway's side.

  /** Sends request frames. */
  send(batch: FrameBatch): void {
    this.#requests.push(batch)
    this.#deliver()
  }

  halfClose(): void {
    if (this.#halfClosed === "no") this.#halfClosed = "sent"
    this.#deliver()
  }

  /** Reads up to `frames` messages; how many there were. */
  read(frames: number): number {
    let count = 0
    while (count < frames) {
      const next = this.#unread.shift()
      if (next === undefined) break
      count++
      this.#pendingBytes -= next.size
      this.#take(next.message)
    }
    if (this.#full && this.#pendingBytes < this.#options.windowBytes) {
      this.#full = false
      if (!this.#isOver) this.drained()
    }
    this.#settle()
    return count
  }

  get unread(): number {
    return this.#unread.length
  }

  /** The gateway leaves. `true`: the sidecar has heard it, so its handler is to be interrupted. */
  leave(departure: Departure): boolean {
    if (this.seen.endedAt !== undefined) return false
    const heard = !this.#isOver
    this.seen.left = departure
    this.seen.endedAt = this.#options.now()
    this.#options.record(departure, `after ${this.seen.messages.length} messages`)
    this.#options.onProgress()
    return heard
  }

  get #isOver(): boolean {
    return this.#ending !== undefined || this.seen.left !== undefined
  }

  #deliver(): void {
    while (!this.#requestsPaused && !this.#isOver) {
      const batch = this.#requests.shift()
      if (batch === undefined) break
      if (!this.request(batch)) this.#requestsPaused = true
    }
    if (this.#requestsPaused || this.#isOver || this.#halfClosed !== "sent") return
    this.#halfClosed = "told"
    this.halfClosed()
  }

  #take(message: Uint8Array): void {
    const { seen } = this
    const reply = decodeReply(message)
    seen.messages.push(message)
    seen.replies.push({ ...reply, at: this.#options.now() })
    if (reply.chunk.startsWith(NOTICE_PREFIX)) seen.notices.push(reply.chunk)
    else if (reply.chunk !== "") seen.tokens.push(reply.chunk)
    this.#options.record("message", reply.endOfStream ? "end_of_stream" : JSON.stringify(reply.chunk))
  }

  #settle(): void {
    const status = this.#ending
    if (status === undefined || this.seen.endedAt !== undefined || this.#unread.length > 0) return
    this.seen.status = status
    this.seen.endedAt = this.#options.now()
    const given = this.seen.abandoned === 0 ? "" : `, ${this.seen.abandoned} given up`
    this.#options.record(
      "end",
      `${codeName(status.code)}${given}${status.message === "" ? "" : ` "${status.message}"`}`
    )
  }
}
