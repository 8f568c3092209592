import type { BudgetHolder, BudgetShare, MessageBudget } from "../../services/MessageBudget.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { lengthAt, PREFIX_BYTES } from "./prefix.ts"
import { Unfinished } from "./unfinished.ts"

export { lengthAt, PREFIX_BYTES } from "./prefix.ts"

/** One message with its prefix. */
export const frame = (payload: Uint8Array, compressed = false): FrameBatch => {
  const out = new Uint8Array(PREFIX_BYTES + payload.length)
  out[0] = compressed ? 1 : 0
  new DataView(out.buffer).setUint32(1, payload.length)
  out.set(payload, PREFIX_BYTES)
  return out
}

/** The messages of a batch as views, without their prefixes. */
export const payloads = (batch: FrameBatch): Array<Uint8Array> => {
  const out: Array<Uint8Array> = []
  let at = 0
  while (at + PREFIX_BYTES <= batch.length) {
    const end = at + PREFIX_BYTES + lengthAt(batch, at)
    out.push(batch.subarray(at + PREFIX_BYTES, end))
    at = end
  }
  return out
}

/** Several byte arrays as one; the array itself when there is only one. */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [first] = parts
  if (first !== undefined && parts.length === 1) return first
  let size = 0
  for (const part of parts) size += part.length
  const out = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Where the frames that `bytes` begin with end: before one that is not whole, or whose message is over `limit`. */
const endOfWhole = (bytes: Uint8Array, limit: number): number => {
  const size = bytes.length
  let at = 0
  while (size - at >= PREFIX_BYTES) {
    const length = lengthAt(bytes, at)
    if (length > limit || size - at < PREFIX_BYTES + length) break
    at += PREFIX_BYTES + length
  }
  return at
}

/** Whether `bytes` are frames and nothing else, none of them with a message over `limit`: nearly always they are. */
export const areWhole = (bytes: Uint8Array, limit: number): boolean =>
  bytes.length > 0 && endOfWhole(bytes, limit) === bytes.length

/** Where unfinished messages are booked, and for whom. */
export interface Booking {
  readonly budget: MessageBudget
  readonly holder: BudgetHolder
}

/**
 * Cuts whole frames from DATA as it comes. A chunk that ends with a frame (the ordinary case) is passed on as it is,
 * without a copy; the bytes of a message split over many chunks are put together as they come ({@link Unfinished}), so
 * that a message weighs what it has sent, however small its chunks are.
 */
export class FrameCutter {
  readonly #limit: number
  readonly #booking: Booking | undefined
  #share: BudgetShare | undefined
  #pending: Unfinished | undefined
  /** Length announced by a frame over the limit, once one was seen; nothing is cut after it. */
  oversize: number | undefined

  /** `limit`: largest allowed message in bytes. `booking`: where the bytes of a message that is not whole are booked. */
  constructor(limit: number, booking?: Booking) {
    this.#limit = limit
    this.#booking = booking
  }

  /** Bytes of a frame that has begun and is not whole. */
  get pending(): number {
    return this.#pending?.size ?? 0
  }

  /** Whether there is room to read on; when there is none, the booking's holder hears of it later. */
  get mayRead(): boolean {
    return this.#share === undefined || this.#share.mayRead()
  }

  /** The whole frames that `chunk` completes; `undefined` when there is none yet. */
  push(chunk: Uint8Array): FrameBatch | undefined {
    const pending = this.#pending
    if (pending === undefined) return this.#cut(chunk)
    const used = pending.push(chunk)
    if (pending.need > this.#limit + PREFIX_BYTES) {
      this.oversize = pending.need - PREFIX_BYTES
      this.drop()
      return undefined
    }
    if (pending.whole) {
      this.#pending = undefined
      this.#share?.hold(0)
      if (used === chunk.length) return pending.take()
      const more = this.#cut(chunk.subarray(used))
      return more === undefined ? pending.take() : pending.takeWith(more)
    }
    this.#share?.hold(pending.size)
    return undefined
  }

  /** Gives up the message that is not whole: the call is over. */
  drop(): void {
    if (this.#pending === undefined) return
    this.#pending = undefined
    this.#share?.hold(0)
  }

  #cut(bytes: Uint8Array): FrameBatch | undefined {
    if (this.oversize !== undefined) return undefined
    const size = bytes.length
    const at = endOfWhole(bytes, this.#limit)
    if (at === size) return size === 0 ? undefined : bytes
    const announced = size - at < PREFIX_BYTES ? 0 : lengthAt(bytes, at)
    if (announced > this.#limit) this.oversize = announced
    else {
      this.#pending = new Unfinished()
      this.#pending.push(at === 0 ? bytes : bytes.subarray(at))
      this.#share ??= this.#booking?.budget.share(this.#booking.holder)
      this.#share?.hold(this.#pending.size)
    }
    return at === 0 ? undefined : bytes.subarray(0, at)
  }
}
