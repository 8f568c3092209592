const encoder = new TextEncoder()
const decoder = new TextDecoder()

const isPlain = (byte: number): boolean => byte >= 0x20 && byte <= 0x7e && byte !== 0x25

/**
 * Percent-encodes a status message (gRPC over HTTP/2, "Percent-Encoded"). A lone surrogate becomes U+FFFD. At most
 * `limit` bytes leave; a longer message is cut at a character's edge.
 */
export const encode = (message: string, limit: number): string => {
  let out = ""
  for (const character of message) {
    let piece = ""
    for (const byte of encoder.encode(character)) {
      piece += isPlain(byte) ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
    }
    if (out.length + piece.length > limit) break
    out += piece
  }
  return out
}

/** The message of a `grpc-message` header; what is not valid percent-encoding stays as it is (the specification asks so). */
export const decode = (value: string): string => {
  if (!value.includes("%")) return value
  const bytes: Array<number> = []
  for (let at = 0; at < value.length; at++) {
    const hex = value[at] === "%" ? value.slice(at + 1, at + 3) : ""
    if (/^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16))
      at += 2
    } else bytes.push(...encoder.encode(value[at] ?? ""))
  }
  return decoder.decode(Uint8Array.from(bytes))
}

/** At most `limit` bytes of UTF-8, cut at a character's edge. */
export const clip = (message: string, limit: number): string => {
  if (message.length * 3 <= limit) return message
  let size = 0
  let out = ""
  for (const character of message) {
    size += encoder.encode(character).length
    if (size > limit) break
    out += character
  }
  return out
}
