import type { Settings } from "../../../src/index.ts"
import type { TestConfig } from "../../../src/testing.ts"
import type { WorkerEngine } from "../workerProtocol.ts"

/**
 * A story about an outage is told once and played on several stages: real processes with real sockets and signals, and the
 * simulation. What comes of it must be the same everywhere: so the simulation is known to tell the truth.
 */
export interface Twin {
  readonly name: string
  /** Settings that differ from the defaults. Times that matter are long or short enough for a busy machine. */
  readonly settings?: TestConfig.Overrides
  /** The real worker's engine; `http2` can do what no gRPC library does. Default `grpc-js`. */
  readonly engine?: WorkerEngine
  readonly tell: (stage: Stage) => Promise<void>
  readonly comesOut: Account
  /**
   * What grpc-js, where it is the wire, may say to a gateway before the sidecar does, and what the sidecar says otherwise.
   */
  readonly onGrpcJs?: Readonly<Record<string, string>>
  /** What only real processes can show: the log, signals, open files. */
  readonly really?: (stage: RealThings) => Promise<void> | void
}

/** What came of a story, as words, so that a whole outcome can be read and compared. */
export interface Account {
  /** What each gateway saw of its call, in the order in which the calls were opened. */
  readonly gateways: ReadonlyArray<string>
  /** Which calls reached which worker process, in order: `1 a` is call `a` at the first process. */
  readonly workers: ReadonlyArray<string>
  /** The worker's status from the first Connected on; of a row of Disconnected the first reason. */
  readonly status: ReadonlyArray<string>
  /** Figures by their metric's name, at the end. */
  readonly figures: Readonly<Record<string, number>>
}

/** What a gateway asks for. */
export interface Ask {
  readonly priority?: number
  readonly deadlineMillis?: number
}

/** One call, seen from its gateway. */
export interface Visit {
  readonly name: string
  /** Waits until so many messages have come. */
  readonly received: (messages: number) => Promise<void>
  /** Waits until the status is there; gives the `grpc-retry-pushback-ms` of a refusal. */
  readonly ended: () => Promise<number | undefined>
  readonly cancel: () => void
}

/** The same call at the worker, answered by the story. */
export interface AtWorker {
  /** The first request message as it came. */
  readonly request: Uint8Array
  readonly notice: (text: string) => void
  readonly tokens: (count: number) => void
  /** The empty last message, and OK. */
  readonly finish: () => void
  /** Breaks the stream, not the connection. */
  readonly reset: () => void
}

export type StatusWord = "Connected" | "Disconnected" | "Reloading"

/** The sidecar, its worker and its gateways. Time passes only while a story waits. */
export interface Stage {
  /** Opens a call on the one connection of the stage's gateway: calls arrive in the order in which they are opened. */
  readonly gateway: (name: string, ask?: Ask) => Visit
  /** The call of this name, when it arrives at a worker. */
  readonly atWorker: (name: string) => Promise<AtWorker>
  readonly worker: {
    /** SIGKILL: the socket file stays. */
    readonly kill: () => Promise<void>
    /** A new process on the same address; the one before, if it lives, goes on with its calls. */
    readonly start: () => Promise<void>
    /** SIGSTOP and SIGCONT. */
    readonly stop: () => Promise<void>
    readonly wake: () => Promise<void>
    /** From now on its Health says `status = reloading`, or that it is well again. */
    readonly reloads: () => Promise<void>
    readonly isWell: () => Promise<void>
    /** GOAWAY on the connection of this call. */
    readonly goAway: (call: AtWorker) => Promise<void>
    /** Waits until the newest process has been asked for its health so often. */
    readonly asked: (times: number) => Promise<void>
    /** Waits until the newest process has had so many connections. */
    readonly connections: (count: number) => Promise<void>
  }
  /** Waits until the sidecar says so of the worker. */
  readonly status: (word: StatusWord) => Promise<void>
  /** Waits until a figure of the metrics has reached this value. */
  readonly figure: (name: string, least: number) => Promise<void>
  /** Waits until a gauge of the metrics has exactly this value. */
  readonly gauge: (name: string, value: number) => Promise<void>
  /** A gateway waits as long as it was told. */
  readonly pass: (millis: number) => Promise<void>
}

/** What a check that needs real processes may look at. */
export interface RealThings {
  /** The daemon's log from the moment at which it was first connected, as `level message`. */
  readonly log: ReadonlyArray<string>
}

/** The environment that says the same as `overrides`. */
export const environmentOf = (overrides: TestConfig.Overrides): Record<string, string> => {
  const sections: ReadonlyArray<Partial<Settings[keyof Settings]>> = Object.values(overrides)
  return Object.fromEntries(
    sections.flatMap((section) => Object.entries(section)).map((
      [key, value]
    ) => [`SIDECAR_${key.toUpperCase()}`, String(value)])
  )
}
