import type { HeaderBlock } from "../../http2/headerBlock.ts"
import type { Metadata } from "../../services/Wire.ts"

/** The fields of a header block in the shape of {@link Metadata}. */
export const metadataOf = (block: HeaderBlock): Metadata => {
  // Without a prototype: a peer may call a key `constructor` or `__proto__`.
  const metadata: Record<string, string | Array<string>> = Object.create(null)
  const { fields } = block
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const key = fields[at] ?? ""
    const value = fields[at + 1] ?? ""
    const before = metadata[key]
    if (before === undefined) metadata[key] = value
    else if (typeof before === "string") metadata[key] = [before, value]
    else before.push(value)
  }
  return metadata
}

/** Writes metadata behind the fields that are there. */
export const addMetadata = (fields: Array<string>, metadata: Metadata): void => {
  for (const key in metadata) {
    const value = metadata[key]
    if (value === undefined) continue
    if (typeof value === "string") fields.push(key, value)
    else for (const one of value) fields.push(key, one)
  }
}
