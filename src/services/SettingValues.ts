/** What the value of a key may be: for each kind its Schema, with the phrase that a message about a mistake has after "expected". */
import { Effect, Schema } from "effect"
import { parseBindAddress } from "./Address.ts"

/** A key that may be left out, and its value then. */
export const orElse = <S extends Schema.Top>(schema: S, value: S["Type"]) =>
  schema.pipe(Schema.withDecodingDefaultType(Effect.succeed(value)))

/** The phrase after "expected" in a message about a key. */
export const expects = (expected: string) => <S extends Schema.Top>(schema: S) => schema.annotate({ expected })

/** A text that `accepts` says yes to. */
export const text = (expected: string, accepts: (value: string) => boolean) =>
  Schema.String.check(Schema.makeFilter(accepts)).pipe(expects(expected))

/** One of these words. */
export const choice = <const L extends ReadonlyArray<string>>(...words: L) =>
  Schema.Literals(words).pipe(expects(`one of ${words.join(", ")}`))

/** Seconds, or anything else that is more than nothing. */
export const Secs = Schema.Finite.check(Schema.isGreaterThan(0)).pipe(expects("a positive number"))
/** The same, or 0: off. */
export const SecsOrOff = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)).pipe(expects("a number, 0 or more"))
/** One or more. */
export const Count = Schema.Int.check(Schema.isGreaterThan(0)).pipe(expects("a positive whole number"))
/** The same, or 0: none, or no limit. */
export const CountOrOff = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(expects("a whole number, 0 or more"))

/** A message must fit into one buffer, on both sides of the wire. */
export const MessageBytes = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2_147_483_647 })).pipe(
  expects("a whole number of bytes from 1 to 2147483647")
)

/** A message's share of the memory for messages that are not whole; less than a window of HTTP/2 would stop them all. */
export const BudgetBytes = Schema.Int.check(Schema.isGreaterThanOrEqualTo(65_536)).pipe(
  expects("a whole number of bytes, 65536 or more")
)

/** A path that can be one. */
export const FilePath = text("the path of a file", (value) => value.trim().length > 0 && !value.includes("\0"))

/** A user or a group of the operating system. */
export const Account = Schema.Union([
  Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
  text("", (value) => /^[\w.-]+$/.test(value))
]).pipe(expects("a name or a number"))

/** Where something speaks HTTP. */
export const HttpUrl = text(
  "an http:// or https:// URL",
  (value) => /^https?:\/\/[^/\s]/i.test(value) && URL.canParse(value)
)

/** What a place to listen at may be. */
export const bindPhrase = "host:port, [ipv6]:port or unix:///path, one or a list"
/** One such place. */
export const BindText = text(bindPhrase, (value) => parseBindAddress(value) !== undefined)
