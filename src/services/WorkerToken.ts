/** Metadata and token together that a C-core worker takes beside each hop's own headers (it breaks at 8192 bytes). */
const METADATA_AND_TOKEN_BYTES = 7680

/** Bytes that a worker's token may have beside metadata of at most `maxMetadataBytes`. */
export const roomForToken = (maxMetadataBytes: number): number => METADATA_AND_TOKEN_BYTES - maxMetadataBytes

/** Whether a text can stand behind `Bearer ` (RFC 6750 §2.1 allows less; workers are told what they demand). */
export const isToken = (text: string): boolean => /^[\x21-\x7e]+$/.test(text)
