import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { EventEmitter } from "node:events"
import * as Logging from "../../src/layers/Logging.ts"
import * as TomlConfig from "../../src/layers/TomlConfig.ts"

/** A stream that keeps what is written to it. */
class Memory extends EventEmitter implements Logging.LogStream {
  readonly writes: Array<string> = []
  readonly isTTY: boolean
  /** Nobody takes what is written. */
  isStalled = false
  writableLength = 0
  constructor(isTTY = false) {
    super()
    this.isTTY = isTTY
  }
  write(text: string): boolean {
    this.writes.push(text)
    if (this.isStalled) this.writableLength += text.length
    return true
  }
  get lines(): ReadonlyArray<string> {
    return this.writes.join("").split("\n").filter((line) => line !== "")
  }
}

/** Runs `program` with a logger of its own; everything is written when it has ended. */
const logged = (program: Effect.Effect<void>, options?: Logging.LoggingOptions & { readonly tty?: boolean }) =>
  Effect.gen(function*() {
    const stream = new Memory(options?.tty)
    yield* program.pipe(Effect.provide(Logging.layerWith({ ...options, stream })))
    return stream.lines
  })

const parsed = (lines: ReadonlyArray<string>): ReadonlyArray<unknown> => lines.map((line) => JSON.parse(line))

describe("JSON lines", () => {
  it.effect("have time, level, message and the annotations beside them", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1500 millis")
      const lines = yield* logged(
        Effect.logInfo("worker connected").pipe(Effect.annotateLogs({ address: "unix:///w", attempt: 3, ok: true }))
      )
      assert.deepStrictEqual(lines, [
        `{"time":"1970-01-01T00:00:01.500Z","level":"info","msg":"worker connected","address":"unix:///w","attempt":3,"ok":true}`
      ])
    }))

  it.effect("take objects among the messages as fields, and spans as milliseconds", () =>
    Effect.gen(function*() {
      const lines = yield* logged(
        TestClock.adjust("20 millis").pipe(
          Effect.andThen(Effect.logInfo("dialled", { attempt: 3 }, "at last", 7)),
          Effect.withLogSpan("dial")
        )
      )
      assert.deepStrictEqual(parsed(lines), [
        { time: "1970-01-01T00:00:00.020Z", level: "info", msg: "dialled at last 7", attempt: 3, dial_ms: 20 }
      ])
    }))

  it.effect("tell an expected failure in its own words and a defect with its stack", () =>
    Effect.gen(function*() {
      const lines = yield* logged(
        Effect.logError("refused", Cause.fail(new Error("no such socket"))).pipe(
          Effect.andThen(Effect.logError("broken", Cause.die(new TypeError("x is not a function"))))
        )
      )
      const [failure, defect] = lines.map((line) => JSON.parse(line))
      assert.strictEqual(failure.error, "no such socket")
      assert.isFalse("stack" in failure)
      assert.strictEqual(defect.error, "x is not a function")
      assert.match(defect.stack, /TypeError: x is not a function\n +at /)
    }))

  it.effect("stay one line and valid, whatever is logged", () =>
    Effect.gen(function*() {
      const circle: Record<string, unknown> = { name: "circle" }
      circle["self"] = circle
      const lines = yield* logged(
        Effect.logWarning("two\nlines \u001B[31m").pipe(
          Effect.annotateLogs({
            time: "mine",
            level: "mine",
            msg: "mine",
            big: 12n,
            circle,
            list: [1, { a: 2 }],
            nothing: undefined,
            ["__proto__"]: "odd"
          })
        )
      )
      assert.strictEqual(lines.length, 1)
      const entry = JSON.parse(lines[0]!)
      assert.strictEqual(entry.msg, "two\nlines \u001B[31m")
      assert.strictEqual(entry.level, "warn")
      assert.strictEqual(entry.level_, "mine")
      assert.strictEqual(entry.time_, "mine")
      assert.strictEqual(entry.msg_, "mine")
      assert.deepStrictEqual(entry.list, [1, { a: 2 }])
      assert.strictEqual(entry.circle.name, "circle")
      assert.match(String(entry.big), /^12n?$/)
    }))
})

describe("pretty lines", () => {
  it.effect("have no colours when the stream is no terminal", () =>
    Effect.gen(function*() {
      const lines = yield* logged(
        Effect.logInfo("worker connected").pipe(
          Effect.annotateLogs({ address: "unix:///w", note: "two words", empty: "", n: 3, list: [1, "a"] })
        ),
        { format: "pretty" }
      )
      assert.deepStrictEqual(lines, [
        `1970-01-01T00:00:00.000Z  INFO worker connected  address=unix:///w note="two words" empty="" n=3 list=[1,"a"]`
      ])
    }))

  it.effect("have colours on a terminal, where pretty is the default", () =>
    Effect.gen(function*() {
      const lines = yield* logged(Effect.logWarning("slow"), { tty: true, color: true })
      assert.deepStrictEqual(lines, ["\u001B[2m1970-01-01T00:00:00.000Z\u001B[0m \u001B[33m WARN\u001B[0m slow"])
    }))

  it.effect("do not let a message steer the terminal", () =>
    Effect.gen(function*() {
      const lines = yield* logged(
        Effect.logInfo("a\u001B[2J\nb\u009Bc").pipe(Effect.annotateLogs({ worker: "x\u001B]0;y" })),
        { format: "pretty" }
      )
      assert.deepStrictEqual(lines, [
        "1970-01-01T00:00:00.000Z  INFO a\\u001b[2J\\nb?c  worker=x\\u001b]0;y"
      ])
    }))

  it.effect("show the stack of a defect below, indented", () =>
    Effect.gen(function*() {
      const lines = yield* logged(Effect.logError("broken", Cause.die(new TypeError("oops"))), { format: "pretty" })
      assert.strictEqual(lines[0], "1970-01-01T00:00:00.000Z ERROR broken  error=oops")
      assert.strictEqual(lines[1], "    TypeError: oops")
      assert.match(lines[2] ?? "", /^ {8}at /)
    }))
})

describe("the level", () => {
  const everything = Effect.gen(function*() {
    yield* Effect.logTrace("trace")
    yield* Effect.logDebug("debug")
    yield* Effect.logInfo("info")
    yield* Effect.logWarning("warn")
    yield* Effect.logError("error")
  })
  const levels = ["trace", "debug", "info", "warn", "error"] as const

  it.effect.each(levels)("%s lets through itself and what is worse", (level) =>
    Effect.gen(function*() {
      const stream = new Memory()
      const config = TomlConfig.layerFrom({ observability: { log_level: level } })
      yield* everything.pipe(
        Effect.provide(Logging.layerConfigured({ stream }).pipe(Layer.provide(config)))
      )
      assert.deepStrictEqual(
        stream.lines.map((line) => JSON.parse(line).level),
        levels.slice(levels.indexOf(level))
      )
    }))

  it.effect("and the format come from the settings, the format before the terminal", () =>
    Effect.gen(function*() {
      const stream = new Memory(true)
      const config = TomlConfig.layerFrom({ observability: { log_format: "json" } })
      yield* everything.pipe(Effect.provide(Logging.layerConfigured({ stream }).pipe(Layer.provide(config))))
      assert.deepStrictEqual(stream.lines.map((line) => JSON.parse(line).msg), ["info", "warn", "error"])
    }))
})

describe("the stream", () => {
  it.effect("gets the lines of one turn in one write, and a warning at once", () =>
    Effect.gen(function*() {
      const stream = new Memory()
      const seen = yield* Effect.gen(function*() {
        yield* Effect.logInfo("one")
        yield* Effect.logInfo("two")
        const before = stream.writes.length
        yield* Effect.logWarning("three")
        return [before, stream.writes.length]
      }).pipe(Effect.provide(Logging.layerWith({ stream })))
      assert.deepStrictEqual(seen, [0, 1])
      assert.deepStrictEqual(stream.lines.map((line) => JSON.parse(line).msg), ["one", "two", "three"])
    }))

  it.live("gets what waits at the end of the turn", () =>
    Effect.gen(function*() {
      const stream = new Memory()
      yield* Effect.gen(function*() {
        yield* Effect.logInfo("one")
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(() => setImmediate(resolve))))
        assert.strictEqual(stream.lines.length, 1)
      }).pipe(Effect.provide(Logging.layerWith({ stream })))
    }))

  it.effect("does not end the process when whoever read it is gone", () =>
    Effect.gen(function*() {
      const stream = new Memory()
      const once = Effect.sync(() => stream.emit("error", new Error("EPIPE"))).pipe(
        Effect.provide(Logging.layerWith({ stream }))
      )
      assert.isTrue(yield* once)
      assert.isTrue(yield* once)
      assert.strictEqual(stream.listenerCount("error"), 1)
      assert.isTrue(stream.emit("error", new Error("EPIPE after the end")))
    }))

  it.effect("that nobody reads keeps a bounded number of lines, warnings longer, and then tells how many are lost", () =>
    Effect.gen(function*() {
      const stream = new Memory()
      yield* Effect.gen(function*() {
        const long = "x".repeat(100_000)
        stream.isStalled = true
        for (let n = 0; n < 100; n++) yield* Effect.logInfo(long)
        assert.isBelow(stream.writableLength, 1.2 * 1024 * 1024)
        const kept = stream.lines.length
        assert.isAbove(kept, 9)
        yield* Effect.logError("the last word")
        assert.strictEqual(stream.lines.length, kept + 2)
        for (let n = 0; n < 100; n++) yield* Effect.logError(long)
        assert.isBelow(stream.writableLength, 2.2 * 1024 * 1024)
        const before = stream.lines.length
        stream.isStalled = false
        stream.writableLength = 0
        yield* Effect.logWarning("read again")
        const told = stream.lines.slice(before).map((line) => JSON.parse(line))
        const second = 100 - (before - kept - 2)
        assert.deepStrictEqual(told.map(({ level, lines, msg }) => [level, msg, lines]), [
          ["warn", "lines of the log are lost: whoever reads it does not keep up", second],
          ["warn", "read again", undefined]
        ])
        const first = JSON.parse(stream.lines[kept] ?? "")
        assert.strictEqual(first.lines, 100 - kept)
      }).pipe(Effect.provide(Logging.layerWith({ stream })))
    }))

  it.effect("is given back: nothing of ours stays at the process", () =>
    Effect.gen(function*() {
      const before = process.listenerCount("exit")
      yield* Effect.sync(() => assert.strictEqual(process.listenerCount("exit"), before + 1)).pipe(
        Effect.provide(Logging.layerWith({ stream: new Memory() }))
      )
      assert.strictEqual(process.listenerCount("exit"), before)
    }))
})
