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
  /** A `double`. */
  readonly double?: (field: number, value: number) => void
  /** A `float`. */
  readonly float?: (field: number, value: number) => void
}

/**
 * Fields that are looked at in one message. None that this project knows has as many, and a message of megabytes can be
 * made of fields of two bytes: to walk them all would hold up every other stream.
 */
export const MAX_FIELDS = 10_000

/**
 * Walks the fields of one message. `false` when the bytes are not a valid message, or it has more than
 * {@link MAX_FIELDS} fields (those before that were visited).
 *
 * **Gotchas**
 *
 * Of a field that is repeated only the last one counts (protobuf.dev, "Last One Wins"): a visitor keeps the view, and
 * decodes it when the walk is over. One that decodes each would do so ten thousand times for one message.
 */
export const visit = (message: Uint8Array, visitor: FieldVisitor): boolean => {
  const size = message.length
  let at = 0
  let left = MAX_FIELDS
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
    if (left-- === 0) return false
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
        if (visitor.double !== undefined && at + 8 <= size) {
          visitor.double(field, new DataView(message.buffer, message.byteOffset + at).getFloat64(0, true))
        }
        at += 8
        break
      case WireType.I32:
        if (visitor.float !== undefined && at + 4 <= size) {
          visitor.float(field, new DataView(message.buffer, message.byteOffset + at).getFloat32(0, true))
        }
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
  #bytes = new Uint8Array(64)
  #size = 0

  /** Room for so many bytes more. */
  #reserve(bytes: number): void {
    if (this.#size + bytes <= this.#bytes.length) return
    const larger = new Uint8Array(Math.max(this.#size + bytes, this.#bytes.length * 2))
    larger.set(this.#bytes.subarray(0, this.#size))
    this.#bytes = larger
  }

  #varint(value: number): void {
    this.#reserve(10)
    if (value < 0) return this.#negative(value)
    let rest = value
    while (rest > 127) {
      this.#bytes[this.#size++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.#bytes[this.#size++] = rest
  }

  /** A negative int32 is sent as its 64-bit two's complement (10 bytes). */
  #negative(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value))
    while (rest > 127n) {
      this.#bytes[this.#size++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.#bytes[this.#size++] = Number(rest)
  }

  varint(field: number, value: number): this {
    this.#varint(field * 8 + WireType.VARINT)
    this.#varint(value)
    return this
  }

  double(field: number, value: number): this {
    this.#varint(field * 8 + WireType.I64)
    this.#reserve(8)
    new DataView(this.#bytes.buffer).setFloat64(this.#size, value, true)
    this.#size += 8
    return this
  }

  /** A `fixed32`. */
  fixed32(field: number, value: number): this {
    this.#varint(field * 8 + WireType.I32)
    this.#reserve(4)
    new DataView(this.#bytes.buffer).setUint32(this.#size, value, true)
    this.#size += 4
    return this
  }

  /** A `fixed64`. */
  fixed64(field: number, value: bigint): this {
    this.#varint(field * 8 + WireType.I64)
    this.#reserve(8)
    new DataView(this.#bytes.buffer).setBigUint64(this.#size, value, true)
    this.#size += 8
    return this
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint(field * 8 + WireType.LEN)
    this.#varint(value.length)
    this.#reserve(value.length)
    this.#bytes.set(value, this.#size)
    this.#size += value.length
    return this
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8Encoder.encode(value))
  }

  message(field: number, value: Writer): this {
    return this.bytes(field, value.#bytes.subarray(0, value.#size))
  }

  /** A `map<string, string>` field. */
  stringMap(field: number, entries: Readonly<Record<string, string>>): this {
    for (const [key, value] of Object.entries(entries)) {
      this.message(field, new Writer().string(1, key).string(2, value))
    }
    return this
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#size)
  }
}

const empty = new Uint8Array()

/** The last value of a length-delimited field, as a view; `undefined` when the message is not valid or has none. */
export const lastBytes = (message: Uint8Array, wanted: number): Uint8Array | undefined => {
  let last: Uint8Array | undefined
  const valid = visit(message, {
    bytes: (field, value) => {
      if (field === wanted) last = value
    }
  })
  return valid ? last : undefined
}

/** Bounds of a `map<string, string>` that comes from somebody else. */
export interface MapBounds {
  /** Bytes of a key; an entry with a longer one is left out. */
  readonly keyBytes: number
  /** Bytes of a value; a longer one is cut. */
  readonly valueBytes: number
}

/** The map that the entries of a `map<string, string>` field make, within bounds. */
export const stringMapOf = (entries: ReadonlyArray<Uint8Array>, bounds: MapBounds): Record<string, string> => {
  const map: Record<string, string> = Object.create(null)
  for (const entry of entries) {
    let key: Uint8Array = empty
    let value: Uint8Array = empty
    visit(entry, {
      bytes: (field, bytes) => {
        if (field === 1) key = bytes
        else if (field === 2) value = bytes
      }
    })
    if (key.length > bounds.keyBytes) continue
    map[text(key)] = text(value.length > bounds.valueBytes ? value.subarray(0, bounds.valueBytes) : value)
  }
  return map
}
