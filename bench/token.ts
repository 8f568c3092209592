/** The messages of the benchmark: what a CY-LLM worker sends, in one fixed size so that bytes tell the tokens. */
import { message } from "../test/conformance/raw/frames.ts"

const varint = (value: number): Buffer =>
  value < 128 ? Buffer.of(value) : Buffer.concat([Buffer.of((value & 127) | 128), varint(value >> 7)])

const field = (number: number, value: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.of(number * 8 + 2), varint(bytes.length), bytes])
}

/** Where the chunk's 16 bytes begin within a token: prefix, trace_id, tag and length of the chunk. */
const CHUNK_AT = 5 + 2 + 36 + 2
/** Where the two-byte index begins. */
const INDEX_AT = CHUNK_AT + 16 + 1

/** A StreamPredictResponse with its gRPC prefix: trace_id (36 bytes), chunk (16 bytes), index (two-byte varint). */
const TOKEN = message(Buffer.concat([
  field(1, "0196f1d2-7c3e-7b64-9a41-5f2b8c1d0e77"),
  field(2, " token 012345678"),
  Buffer.of(32, 0x80, 1)
]))

/** Bytes of every token, prefix included. */
export const TOKEN_BYTES = TOKEN.length

/** The worker's last message: `end_of_stream`, an empty chunk. */
export const END_MESSAGE = message(Buffer.concat([
  field(1, "0196f1d2-7c3e-7b64-9a41-5f2b8c1d0e77"),
  Buffer.of(24, 1)
]))

/** Health's answer: `healthy = true`. */
export const HEALTHY = message(Buffer.of(8, 1))

/** A token of so many bytes, prefix included: one with a longer chunk, whose index stays 128. */
export const sizedToken = (bytes: number): Buffer => {
  // The length of a long chunk takes a byte or two more.
  for (let chunk = 16 + bytes - TOKEN_BYTES; chunk > 0; chunk--) {
    const token = message(Buffer.concat([
      field(1, "0196f1d2-7c3e-7b64-9a41-5f2b8c1d0e77"),
      field(2, "x".repeat(chunk)),
      Buffer.of(32, 0x80, 1)
    ]))
    if (token.length === bytes) return token
  }
  throw new Error(`no token has ${bytes} bytes`)
}

/** Writes token number `index` at `at`; its chunk is `stamp` in microseconds when one is given. */
export const writeToken = (out: Buffer, at: number, index: number, stamp?: number): void => {
  out.set(TOKEN, at)
  const shown = 128 + (index % 16_256)
  out[at + INDEX_AT] = (shown & 127) | 128
  out[at + INDEX_AT + 1] = shown >> 7
  if (stamp !== undefined) out.write(String(Math.round(stamp)).padStart(16, "0"), at + CHUNK_AT, "latin1")
}

/** The stamp of the token at `at`, in microseconds. */
export const readStamp = (bytes: Buffer, at: number): number =>
  Number(bytes.toString("latin1", at + CHUNK_AT, at + CHUNK_AT + 16))

/** Microseconds of the clock that all processes of one machine share. */
export const nowMicros = (): number => Number(process.hrtime.bigint() / 1000n)

/** What a stream asks of the bench worker; it travels as the prompt. */
export type Plan =
  /**
   * Endless, `rate` tokens a second at even distances, the first at a random moment of the first interval. Moments are
   * whole milliseconds, so that streams have their tokens in bundles, as those of an engine that steps batches; `spread`
   * moments are any. `bytes`: of a token, where it is not {@link TOKEN_BYTES}.
   */
  | { readonly kind: "paced"; readonly rate: number; readonly spread?: boolean; readonly bytes?: number }
  /** Endless, as fast as the windows let. */
  | { readonly kind: "burst" }
  /** `tokens` tokens, `gapMillis` apart (0: at once), then `end_of_stream` and OK. */
  | { readonly kind: "short"; readonly tokens: number; readonly gapMillis: number }

/** The StreamPredictRequest of a plan, with its gRPC prefix. */
export const planRequest = (plan: Plan): Buffer =>
  message(Buffer.concat([
    field(1, "bench-model"),
    field(2, `Bench: ${JSON.stringify(plan)};`),
    field(6, Buffer.concat([field(1, "0196f1d2-7c3e-7b64-9a41-5f2b8c1d0e77"), field(2, "tenant"), field(3, "player")]))
  ]))

/** The plan in a request's bytes; `undefined` when it is another method's. */
export const readPlan = (request: string): Plan | undefined => {
  const found = /Bench: (\{.*?\});/.exec(request)?.[1]
  return found === undefined ? undefined : JSON.parse(found)
}
