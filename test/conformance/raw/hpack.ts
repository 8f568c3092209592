/** HPACK (RFC 7541) as far as hand-made peers need it: literals out, everything in. */

/** Header fields in order; a name may occur more than once. */
export type HeaderList = ReadonlyArray<readonly [name: string, value: string]>

const integer = (value: number, prefixBits: number, first: number): Buffer => {
  const max = 2 ** prefixBits - 1
  if (value < max) return Buffer.of(first | value)
  const out = [first | max]
  let rest = value - max
  while (rest >= 128) {
    out.push((rest & 127) | 128)
    rest = Math.floor(rest / 128)
  }
  out.push(rest)
  return Buffer.from(out)
}

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value, "latin1")
  return Buffer.concat([integer(bytes.length, 7, 0), bytes])
}

/** Each field as a literal without indexing and without Huffman (§6.2.2): stateless, so blocks may be prebuilt. */
export const encode = (headers: HeaderList): Buffer =>
  Buffer.concat(headers.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]))

/** Each field as a literal that must never be indexed, here or further on (§6.2.3). */
export const encodeNever = (headers: HeaderList): Buffer =>
  Buffer.concat(headers.flatMap(([name, value]) => [Buffer.of(0x10), text(name), text(value)]))

/** Each field as a literal that enters the dynamic table (§6.2.1): the peer may name it by index afterwards. */
export const encodeIndexing = (headers: HeaderList): Buffer =>
  Buffer.concat(headers.flatMap(([name, value]) => [Buffer.of(0x40), text(name), text(value)]))

/** Fields of the static (1–61) or dynamic (from 62, the newest first) table (§6.1). */
export const encodeIndexed = (...indices: ReadonlyArray<number>): Buffer =>
  Buffer.concat(indices.map((index) => integer(index, 7, 0x80)))

const STATIC: HeaderList = (
  ":authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|" +
  ":status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate|" +
  "accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|" +
  "content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|" +
  "cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|" +
  "last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|" +
  "server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
).split("|").map((entry) => {
  const [name = "", value = ""] = entry.split("=")
  return [name, value] as const
})

/** Code lengths of RFC 7541 Appendix B, by symbol; the code is canonical, so the lengths are the code. 256 is EOS. */
const HUFFMAN_LENGTHS = (
  "13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10 10 12 13 6 8 11 " +
  "10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 " +
  "14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 20 22 20 20 22 22 22 23 22 23 23 23 23 23 " +
  "24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 " +
  "22 23 23 20 22 22 22 23 22 22 23 26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 " +
  "28 27 27 27 20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 30"
).split(" ").map(Number)

/** Symbol by `length` and code: `"5:0"` is "0". */
const HUFFMAN: ReadonlyMap<number, number> = (() => {
  const order = HUFFMAN_LENGTHS.map((length, symbol) => ({ length, symbol }))
    .sort((a, b) => a.length - b.length || a.symbol - b.symbol)
  const table = new Map<number, number>()
  let code = 0
  let length = order[0]?.length ?? 0
  for (const entry of order) {
    code *= 2 ** (entry.length - length)
    length = entry.length
    table.set(length * 2 ** 31 + code, entry.symbol)
    code += 1
  }
  return table
})()

const unhuffman = (bytes: Buffer): string => {
  const out: Array<number> = []
  let code = 0
  let length = 0
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((byte >> bit) & 1)
      length += 1
      const symbol = HUFFMAN.get(length * 2 ** 31 + code)
      if (symbol !== undefined) {
        out.push(symbol)
        code = 0
        length = 0
      }
    }
  }
  return Buffer.from(out).toString("latin1")
}

/** Decodes the header blocks of one direction of one connection, in order. */
export class HpackDecoder {
  #dynamic: Array<readonly [string, string]> = []
  #size = 0
  #limit = 4096
  /** Names that came marked "never indexed" (§6.2.3) in the block that was decoded last. */
  never: ReadonlySet<string> = new Set()

  decode(block: Buffer): Array<[name: string, value: string]> {
    const out: Array<[string, string]> = []
    const never = new Set<string>()
    this.never = never
    let at = 0
    const int = (prefixBits: number): number => {
      const max = 2 ** prefixBits - 1
      let value = (block[at++] ?? 0) & max
      if (value < max) return value
      for (let shift = 0;; shift += 7) {
        const byte = block[at++] ?? 0
        value += (byte & 127) * 2 ** shift
        if (byte < 128) return value
      }
    }
    const string = (): string => {
      const huffman = ((block[at] ?? 0) & 128) !== 0
      const length = int(7)
      const bytes = block.subarray(at, at + length)
      at += length
      return huffman ? unhuffman(bytes) : bytes.toString("latin1")
    }
    while (at < block.length) {
      const first = block[at] ?? 0
      if ((first & 0x80) !== 0) {
        const [name, value] = this.#entry(int(7))
        out.push([name, value])
      } else if ((first & 0xe0) === 0x20) {
        this.#limit = int(5)
        this.#evict()
      } else {
        const indexing = (first & 0x40) !== 0
        const index = int(indexing ? 6 : 4)
        const name = index === 0 ? string() : this.#entry(index)[0]
        const value = string()
        out.push([name, value])
        if (indexing) this.#insert(name, value)
        else if ((first & 0x10) !== 0) never.add(name)
      }
    }
    return out
  }

  #entry(index: number): readonly [string, string] {
    const entry = index <= STATIC.length ? STATIC[index - 1] : this.#dynamic[index - STATIC.length - 1]
    if (entry === undefined) throw new Error(`no header with index ${index}`)
    return entry
  }

  #insert(name: string, value: string): void {
    this.#dynamic.unshift([name, value])
    this.#size += name.length + value.length + 32
    this.#evict()
  }

  #evict(): void {
    while (this.#size > this.#limit) {
      const last = this.#dynamic.pop()
      if (last === undefined) return
      this.#size -= last[0].length + last[1].length + 32
    }
  }
}
