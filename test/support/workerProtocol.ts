/** What a test and its worker process say to each other over Node's IPC channel (structured clones, so bytes as bytes). */

/** Metadata as pairs in order; bytes for `-bin` keys. */
export type Pairs = ReadonlyArray<readonly [string, string | Uint8Array]>

/** How the worker answers Health: a response, a gRPC error, or not at all. */
export type HealthMode =
  | { readonly kind: "answer"; readonly healthy: boolean; readonly metrics: Readonly<Record<string, string>> }
  | { readonly kind: "fail"; readonly code: number; readonly message: string }
  | { readonly kind: "silent" }

/** `grpc-js`: a server that no one here wrote. `http2`: bare HTTP/2, for what a well-behaved server cannot do. */
export type WorkerEngine = "grpc-js" | "http2"

export type Command =
  | { readonly op: "health"; readonly mode: HealthMode }
  | { readonly op: "headers"; readonly id: number; readonly metadata: Pairs }
  | { readonly op: "messages"; readonly id: number; readonly messages: ReadonlyArray<Uint8Array> }
  /** `count` times the same message as fast as the peer takes them; the window is honoured. */
  | { readonly op: "burst"; readonly id: number; readonly message: Uint8Array; readonly count: number }
  | {
    readonly op: "end"
    readonly id: number
    readonly code: number
    readonly message: string
    readonly trailers: Pairs
  }
  /** The rest: engine `http2` only. */
  | {
    readonly op: "respond"
    readonly id: number
    readonly headers: Readonly<Record<string, string>>
    readonly endStream: boolean
  }
  | { readonly op: "data"; readonly id: number; readonly bytes: Uint8Array; readonly endStream: boolean }
  /** Trailers as they are; `poison` is written into the header block behind the library's back. */
  | {
    readonly op: "trailers"
    readonly id: number
    readonly headers: Readonly<Record<string, string | ReadonlyArray<string>>>
    readonly poison: ReadonlyArray<readonly [string, string]>
  }
  | { readonly op: "reset"; readonly id: number; readonly code: number }
  | { readonly op: "goaway"; readonly id: number; readonly code: number; readonly lastStreamId: number | undefined }
  | { readonly op: "destroy"; readonly id: number }
  | { readonly op: "finish"; readonly id: number }

export type Event =
  | { readonly event: "listening" }
  | { readonly event: "failed"; readonly detail: string }
  | { readonly event: "connection" }
  | {
    readonly event: "call"
    readonly id: number
    readonly path: string
    readonly authority: string
    /** Everything that came, lower-case keys, `-bin` values in base64; repeated keys joined as the library gave them. */
    readonly headers: Readonly<Record<string, string>>
    /** Remaining time as the worker sees it. */
    readonly timeoutMillis: number | undefined
  }
  | { readonly event: "message"; readonly id: number; readonly message: Uint8Array }
  | { readonly event: "halfClose"; readonly id: number }
  /** The peer reset the call, or its connection is gone. */
  | { readonly event: "cancelled"; readonly id: number; readonly code: number }
  | { readonly event: "closed"; readonly id: number }
  | { readonly event: "burstDone"; readonly id: number }
  /** The peer has taken nothing of a burst for a second. */
  | { readonly event: "burstStalled"; readonly id: number }
  | { readonly event: "health" }
