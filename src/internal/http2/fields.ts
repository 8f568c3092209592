import type { FieldLines, HeaderBlock } from "../../http2/headerBlock.ts"
import { type Metadata, neverIndexed } from "../../services/Wire.ts"

/** The fields of a header block in the shape of {@link Metadata}. */
export const metadataOf = (block: HeaderBlock): Metadata => {
  // Without a prototype: a peer may call a key `constructor` or `__proto__`.
  const metadata: Record<string, string | Array<string>> & { [neverIndexed]?: ReadonlySet<string> } = Object.create(
    null
  )
  const { fields, sensitive } = block
  if (sensitive !== undefined) metadata[neverIndexed] = sensitive
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

/** Writes metadata behind the fields that are there, with the mark of those that are never indexed. */
export const addMetadata = (fields: FieldLines, metadata: Metadata): void => {
  const sensitive = metadata[neverIndexed]
  if (sensitive !== undefined) fields.sensitive = sensitive
  for (const key in metadata) {
    const value = metadata[key]
    if (value === undefined) continue
    if (typeof value === "string") fields.push(key, value)
    else for (const one of value) fields.push(key, one)
  }
}
