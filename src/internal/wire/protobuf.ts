/**
 * Just enough of the protobuf wire format (protobuf.dev, "Encoding") to look at a few fields of a message that is
 * carried as bytes, and to write the small messages of our own.
 */

/** Wire types of a field's tag. */
export const WireType = { VARINT: 0, I64: 1, LEN: 2, I32: 5 } as const

const utf8 = new TextDecoder()
const utf8Encoder = new TextEncoder()

/** Bytes as text; what is not UTF-8 becomes U+FFFD. */
export const text = (bytes: Uint8Array): string => utf8.decode(bytes)

/** Calls back for every field of a message, in order. */
export interface FieldVisitor {
  /** A varint field; numbers above 2^53 lose precision. `low32`: its low half as a signed int32. */
  readonly varint?: (field: number, value: number, low32: number) => void
  /** A length-delimited field as a view. */
  readonly bytes?: (field: number, value: Uint8Array) => void
}

/** Walks the fields of one message. `false` when the bytes are not a valid message (fields before that were visited). */
export const visit = (message: Uint8Array, visitor: FieldVisitor): boolean => {
  const size = message.length
  let at = 0
  let low32 = 0
  const varint = (): number => {
    let value = 0
    let factor = 1
    low32 = 0
    for (let n = 0; n < 10; n++) {
      if (at >= size) return -1
      const byte = message[at++] ?? 0
      value += (byte & 0x7f) * factor
      if (n < 5) low32 |= (byte & 0x7f) << (7 * n)
      if (byte < 0x80) return value
      factor *= 128
    }
    return -1
  }
  while (at < size) {
    const tag = varint()
    if (tag < 8) return false
    const field = Math.floor(tag / 8)
    switch (tag % 8) {
      case WireType.VARINT: {
        const value = varint()
        if (value < 0) return false
        visitor.varint?.(field, value, low32)
        break
      }
      case WireType.LEN: {
        const length = varint()
        if (length < 0 || at + length > size) return false
        visitor.bytes?.(field, message.subarray(at, at + length))
        at += length
        break
      }
      case WireType.I64:
        at += 8
        break
      case WireType.I32:
        at += 4
        break
      default:
        return false
    }
    if (at > size) return false
  }
  return true
}

/** Writes one message field by field. Fields with proto3 default values are the caller's to leave out. */
export class Writer {
  readonly #bytes: Array<number> = []

  #varint(value: number): void {
    // A negative int32 is sent as its 64-bit two's complement (10 bytes).
    let rest = value < 0 ? BigInt.asUintN(64, BigInt(value)) : BigInt(value)
    while (rest > 127n) {
      this.#bytes.push(Number(rest & 0x7fn) | 0x80)
      rest >>= 7n
    }
    this.#bytes.push(Number(rest))
  }

  varint(field: number, value: number): this {
    this.#varint(field * 8 + WireType.VARINT)
    this.#varint(value)
    return this
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint(field * 8 + WireType.LEN)
    this.#varint(value.length)
    for (const byte of value) this.#bytes.push(byte)
    return this
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8Encoder.encode(value))
  }

  message(field: number, value: Writer): this {
    return this.bytes(field, value.finish())
  }

  /** A `map<string, string>` field. */
  stringMap(field: number, entries: Readonly<Record<string, string>>): this {
    for (const [key, value] of Object.entries(entries)) {
      this.message(field, new Writer().string(1, key).string(2, value))
    }
    return this
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }
}

/** One entry of a `map<string, string>` field. */
export const stringEntry = (entry: Uint8Array): readonly [key: string, value: string] => {
  let key = ""
  let value = ""
  visit(entry, {
    bytes: (field, bytes) => {
      if (field === 1) key = text(bytes)
      else if (field === 2) value = text(bytes)
    }
  })
  return [key, value]
}
