import type { Settings } from "../../services/SidecarConfig.ts"
import type { PeekOptions } from "./peek.ts"

/** The limits of a stream, in milliseconds and bytes, as the settings have them at the time of use. */
export class StreamLimits {
  readonly #settings: Settings

  constructor(settings: Settings) {
    this.#settings = settings
  }

  get holdMillis(): number {
    return this.#settings.reload.hold_timeout_secs * 1000
  }
  get holdOnDisconnectMillis(): number {
    return this.#settings.reload.hold_on_disconnect_secs * 1000
  }
  get holdNotice(): string {
    return this.#settings.reload.hold_notice
  }
  get queueMillis(): number {
    return this.#settings.server.queue_timeout_secs * 1000
  }
  get firstTokenMillis(): number {
    return this.#settings.server.first_token_timeout_secs * 1000
  }
  get idleMillis(): number {
    return this.#settings.server.stream_idle_timeout_secs * 1000
  }
  get slowReaderMillis(): number {
    return this.#settings.server.slow_reader_timeout_secs * 1000
  }
  get replayMaxBytes(): number {
    return this.#settings.reload.replay_max_bytes
  }
  get requireEndOfStream(): boolean {
    return this.#settings.server.require_end_of_stream
  }
}

const utf8 = new TextEncoder()

/** How frames are looked into: the prefixes are encoded once for each value that the key has. */
export const peekOptions = ({ metering }: Settings, inflate: PeekOptions["inflate"]): PeekOptions => {
  let texts: ReadonlyArray<string> | undefined
  let bytes: ReadonlyArray<Uint8Array> = []
  return {
    get noticePrefixes() {
      if (metering.notice_prefixes !== texts) {
        texts = metering.notice_prefixes
        bytes = texts.map((prefix) => utf8.encode(prefix))
      }
      return bytes
    },
    inflate
  }
}
