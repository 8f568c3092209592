import { text, visit, Writer } from "../wire/protobuf.ts"

/**
 * protobufjs names the hidden message of a `map` field after the field alone (`Payload` for `payload`). protoc's rule is
 * `PayloadEntry`, and those who check descriptors (protobuf for C++, Python and Go, so grpcurl as well) refuse a file in
 * which it has another name. Field numbers below are those of `google/protobuf/descriptor.proto`.
 */

const FILE_NAME = 1
const FILE_PACKAGE = 2
const FILE_MESSAGE = 4
const MESSAGE_NAME = 1
const MESSAGE_FIELD = 2
const MESSAGE_NESTED = 3
const MESSAGE_OPTIONS = 7
const OPTIONS_MAP_ENTRY = 7
const FIELD_NAME = 1
const FIELD_TYPE_NAME = 6

/** `return_code` → `ReturnCode`, as protoc spells it. */
const camelCase = (name: string): string =>
  name.split("_").map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("")

/** A copy of a message in which `change` has replaced some of the length-delimited fields. */
const rewrite = (message: Uint8Array, change: (field: number, value: Uint8Array) => Uint8Array): Uint8Array => {
  const copy = new Writer()
  visit(message, {
    varint: (field, value) => void copy.varint(field, value),
    bytes: (field, value) => void copy.bytes(field, change(field, value))
  })
  return copy.finish()
}

const bytesOf = (message: Uint8Array, wanted: number): Uint8Array | undefined => {
  let found: Uint8Array | undefined
  visit(message, {
    bytes: (field, value) => {
      if (field === wanted) found = value
    }
  })
  return found
}

const textOf = (message: Uint8Array, field: number): string => text(bytesOf(message, field) ?? new Uint8Array())

const isMapEntry = (message: Uint8Array): boolean => {
  let entry = false
  visit(bytesOf(message, MESSAGE_OPTIONS) ?? new Uint8Array(), {
    varint: (field, value) => {
      if (field === OPTIONS_MAP_ENTRY) entry = value !== 0
    }
  })
  return entry
}

const encode = (name: string): Uint8Array => new TextEncoder().encode(name)

const inMessage = (message: Uint8Array): Uint8Array => {
  const entries = new Set<string>()
  visit(message, {
    bytes: (field, value) => {
      if (field === MESSAGE_NESTED && isMapEntry(value)) entries.add(textOf(value, MESSAGE_NAME))
    }
  })
  const renamed = new Map<string, string>()
  visit(message, {
    bytes: (field, value) => {
      const type = textOf(value, FIELD_TYPE_NAME)
      if (field === MESSAGE_FIELD && entries.has(type)) {
        renamed.set(type, `${camelCase(textOf(value, FIELD_NAME))}Entry`)
      }
    }
  })
  const rename = (wanted: number) => (field: number, value: Uint8Array) => {
    const name = field === wanted ? renamed.get(text(value)) : undefined
    return name === undefined ? value : encode(name)
  }
  return rewrite(message, (field, value) => {
    if (field === MESSAGE_FIELD) return rewrite(value, rename(FIELD_TYPE_NAME))
    if (field !== MESSAGE_NESTED) return value
    return isMapEntry(value) ? rewrite(value, rename(MESSAGE_NAME)) : inMessage(value)
  })
}

/** A `FileDescriptorProto` with the name of the file that its package comes from; protobufjs invents one. */
export const withFileName = (file: Uint8Array, files: ReadonlyMap<string, string>): Uint8Array => {
  const name = files.get(textOf(file, FILE_PACKAGE))
  return name === undefined ? file : rewrite(file, (field, value) => (field === FILE_NAME ? encode(name) : value))
}

/** A `FileDescriptorProto` whose map entries have the names that protoc gives them. */
export const withMapEntryNames = (file: Uint8Array): Uint8Array =>
  rewrite(file, (field, value) => (field === FILE_MESSAGE ? inMessage(value) : value))
