/** Field lines as they are handed to the encoder: name, value, name, value. Names in lower case. */
export interface FieldList extends ReadonlyArray<string> {
  /** Names that are sent "never indexed" besides those that look like secrets (RFC 7541 §6.2.3); mostly none. */
  readonly sensitive?: ReadonlySet<string> | undefined
}

/** A {@link FieldList} that is being written. */
export interface FieldLines extends Array<string> {
  sensitive?: ReadonlySet<string> | undefined
}

/**
 * A decoded field section (RFC 9113 §8.1): the head of a request or response, or trailers. Text has one character for each
 * byte (ISO 8859-1).
 */
export class HeaderBlock {
  /** Pseudo-header fields (§8.3); "" where there is none, also for a `:status` that is no number. */
  method = ""
  scheme = ""
  authority = ""
  path = ""
  status = 0
  /** The other fields in their order: name, value, name, value. */
  readonly fields: Array<string> = []
  /** Names that came "never indexed": whoever forwards them must send them so (RFC 7541 §6.2.3). */
  sensitive: Set<string> | undefined
  /** Longer than SETTINGS_MAX_HEADER_LIST_SIZE: what came after the limit is missing. */
  tooLarge = false
  /** Breaks RFC 9113 §8.2 or §8.3; never handed to the layer above. */
  malformed = false
  /** The last frame of its side: Trailers-Only, a request without a body, or trailers. */
  endStream = false
  /** `content-length`; −1: none. */
  contentLength = -1
  /** Pseudo-header fields that have come, a bit each. */
  pseudo = 0

  /** The first value of a field; `name` in lower case. */
  get(name: string): string | undefined {
    const { fields } = this
    for (let at = 0; at < fields.length; at += 2) if (fields[at] === name) return fields[at + 1]
    return undefined
  }
}

const METHOD = 1
const SCHEME = 2
const AUTHORITY = 4
const PATH = 8
const STATUS = 16
const PROTOCOL = 32

const bitOf = (name: string): number => {
  switch (name) {
    case ":method":
      return METHOD
    case ":scheme":
      return SCHEME
    case ":authority":
      return AUTHORITY
    case ":path":
      return PATH
    case ":status":
      return STATUS
    default:
      return PROTOCOL
  }
}

const setPseudo = (block: HeaderBlock, name: string, value: string): void => {
  const bit = bitOf(name)
  // Each once, before the other fields, and only those that are defined (§8.3).
  if ((block.pseudo & bit) !== 0 || block.fields.length > 0 || bit === PROTOCOL) block.malformed = true
  block.pseudo |= bit
  switch (bit) {
    case METHOD:
      block.method = value
      return
    case SCHEME:
      block.scheme = value
      return
    case AUTHORITY:
      block.authority = value
      return
    case PATH:
      block.path = value
      return
    case STATUS:
      if (/^[1-9]\d\d$/.test(value)) block.status = Number(value)
      else block.malformed = true
      return
    default:
  }
}

/** Takes one decoded field; checks what can be checked of it alone (§8.2). */
export const addField = (block: HeaderBlock, name: string, value: string, sensitive: boolean): void => {
  if (name.charCodeAt(0) === 58) return setPseudo(block, name, value)
  block.fields.push(name, value)
  if (sensitive) (block.sensitive ??= new Set()).add(name)
  switch (name) {
    // Fields of the connection (§8.2.2).
    case "connection":
    case "keep-alive":
    case "proxy-connection":
    case "transfer-encoding":
    case "upgrade":
      block.malformed = true
      return
    case "te":
      if (value.toLowerCase() !== "trailers") block.malformed = true
      return
    case "content-length":
      if (!/^\d{1,15}$/.test(value)) block.malformed = true
      else if (block.contentLength >= 0 && block.contentLength !== Number(value)) block.malformed = true
      else block.contentLength = Number(value)
      return
    default:
  }
}

/** Whether the pseudo-header fields are those of a request (§8.3.1; CONNECT, §8.5, included). */
export const isRequest = (block: HeaderBlock): boolean => {
  if (block.malformed || (block.pseudo & STATUS) !== 0) return false
  if (block.method === "CONNECT") return (block.pseudo & (AUTHORITY | SCHEME | PATH)) === AUTHORITY
  return block.method !== "" && block.scheme !== "" && block.path !== ""
}

/** Whether the pseudo-header fields are those of a response (§8.3.2). */
export const isResponse = (block: HeaderBlock): boolean => !block.malformed && block.pseudo === STATUS

/** Trailers have no pseudo-header fields (§8.1). */
export const isTrailers = (block: HeaderBlock): boolean => !block.malformed && block.pseudo === 0
