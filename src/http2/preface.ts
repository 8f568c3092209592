import { PREFACE } from "./protocol.ts"

/** What came instead of the client's preface (RFC 9113 §3.4). */
export type Foreign = "http1" | "tls" | "other"

/** How far a server has come with the preface. */
export class PrefaceReader {
  #have = 0

  get done(): boolean {
    return this.#have === PREFACE.length
  }

  /** Takes the preface off the first `length` bytes of `chunk`; answers how many were its own, or what it is instead. */
  read(chunk: Uint8Array, length: number): number | Foreign {
    let at = 0
    while (this.#have < PREFACE.length && at < length) {
      if (chunk[at] !== PREFACE[this.#have]) return this.#have < 3 ? whatIs(chunk.subarray(0, length), at) : "other"
      this.#have++
      at++
    }
    return at
  }
}

/**
 * A method in capitals and a blank (RFC 9112 §3), or the head of a TLS handshake (RFC 8446 §5.1). `from`: POST, PUT and PATCH
 * begin as the preface does.
 */
const whatIs = (chunk: Uint8Array, from: number): Foreign => {
  if (from === 0 && chunk[0] === 0x16 && (chunk[1] === undefined || chunk[1] === 3)) return "tls"
  let at = from
  while (at < chunk.length && at < from + 16 && isCapital(chunk[at] ?? 0)) at++
  return at > from && (at === chunk.length || chunk[at] === 0x20) ? "http1" : "other"
}

const isCapital = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a

/** The whole answer to a request in HTTP/1: one line that a person can read. */
export const http1Answer = (text: string): Uint8Array => {
  const body = `${text}\n`
  return new TextEncoder().encode(
    "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n" +
      `content-length: ${new TextEncoder().encode(body).length}\r\n\r\n${body}`
  )
}
