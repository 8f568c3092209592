import { Clock, Effect, Option, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { randomUUID } from "node:crypto"
import { text as readAll } from "node:stream/consumers"
import type { PredictChunk, PredictRequest } from "../internal/client/aiProto.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { counted } from "../internal/words.ts"
import { CliExit, ExitCode } from "./exit.ts"
import { connect, explain, peerFlags } from "./peer.ts"
import { onStderr, print, printable, printLine, remark } from "./terminal.ts"

const DEFAULT_NOTICE_PREFIXES = ["[模型加载]"]

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.withDefault(""))

const number = <A>(flag: Flag.Flag<A>, description: string, fallback: A) =>
  flag.pipe(Flag.withDescription(description), Flag.withDefault(fallback))

const flags = {
  prompt: Argument.String("prompt").pipe(
    Argument.withDescription("What to say to the model; - reads it from stdin")
  ),
  model: Flag.String("model").pipe(
    Flag.withAlias("m"),
    Flag.withMetavar("NAME"),
    Flag.withDescription("Which model answers, for example qwen-7b")
  ),
  ...peerFlags,
  token: text("token", "SECRET", "Bearer token, for a worker that wants one (default: $SIDECAR_TOKEN)"),
  adapter: text("adapter", "NAME", "Name of a LoRA adapter"),
  priority: number(Flag.Int("priority"), "Lower numbers are served first", 0),
  maxNewTokens: number(Flag.Int("max-new-tokens"), "Longest answer in tokens; 0: the worker's choice", 0),
  temperature: number(Flag.Finite("temperature"), "Sampling temperature; 0: the worker's choice", 0),
  topP: number(Flag.Finite("top-p"), "Nucleus sampling; 0: the worker's choice", 0),
  tenant: text("tenant", "NAME", "Who the answer is for"),
  player: text("player", "ID", "The player it is for"),
  traceId: text("trace-id", "ID", "Trace id of the request (default: a random one)"),
  metadata: Flag.KeyValuePair("metadata").pipe(
    Flag.withDescription("Further gRPC metadata; may be given more than once"),
    Flag.withDefault({})
  ),
  deadline: Flag.Finite("deadline").pipe(
    Flag.withMetavar("SECS"),
    Flag.withDescription("Give up after so many seconds (default: never)"),
    Flag.filter((seconds) => seconds > 0, () => "Expected a positive number of seconds"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON object for each message"),
    Flag.withDefault(false)
  ),
  verbose: Flag.Boolean("verbose").pipe(
    Flag.withDescription("End with a line of figures, also when stderr is not a terminal"),
    Flag.withDefault(false)
  )
}

const readPrompt = (argument: string): Effect.Effect<string, CliExit> =>
  argument !== "-" ? Effect.succeed(argument) : Effect.tryPromise({
    try: () => readAll(process.stdin),
    catch: (cause) => new CliExit({ code: ExitCode.noInput, message: `stdin cannot be read: ${String(cause)}` })
  })

/** What is known of an answer so far. */
interface Progress {
  tokens: number
  firstTokenMillis: number | undefined
  endsWithNewline: boolean
  last: PredictChunk | undefined
}

const figures = (progress: Progress, millis: number): string => {
  const first = progress.firstTokenMillis === undefined
    ? ""
    : `, first after ${Math.round(progress.firstTokenMillis)} ms`
  const told = progress.last?.end_of_stream === true ? progress.last.tokens_per_sec : 0
  const rate = told > 0 ? told : progress.tokens / Math.max(0.001, millis / 1000)
  return `${counted(progress.tokens, "token")}${first}, ${rate.toFixed(1)} tokens/s, ${(millis / 1000).toFixed(2)} s`
}

const forTerminal = process.stdout.isTTY === true ? printable : (words: string) => words

const show = (chunk: PredictChunk, notice: boolean, progress: Progress): Effect.Effect<void, CliExit> => {
  if (chunk.chunk === "") return Effect.void
  if (notice) return remark(`${onStderr.dim(printable(chunk.chunk.trimEnd()))}\n`)
  progress.endsWithNewline = chunk.chunk.endsWith("\n")
  return print(forTerminal(chunk.chunk))
}

/** `sidecar predict --model qwen-7b "你好"`: streams one answer to the terminal as it comes. */
export const predict = Command.make("predict", flags, (given) =>
  Effect.gen(function*() {
    const token = given.token === "" ? process.env.SIDECAR_TOKEN : given.token
    const prompt = yield* readPrompt(given.prompt)
    const { address, client, settings } = yield* connect(given, token === "" ? undefined : token)
    const prefixes = settings?.metering.notice_prefixes ?? DEFAULT_NOTICE_PREFIXES
    const monotonic = monotonicMillis(yield* Clock.Clock)
    const began = monotonic()
    const progress: Progress = { tokens: 0, firstTokenMillis: undefined, endsWithNewline: true, last: undefined }

    const request: Partial<PredictRequest> = {
      model_id: given.model,
      prompt,
      adapter: given.adapter,
      priority: given.priority,
      generation: {
        max_new_tokens: given.maxNewTokens,
        temperature: given.temperature,
        top_p: given.topP,
        repetition_penalty: 0
      },
      metadata: {
        trace_id: given.traceId === "" ? randomUUID() : given.traceId,
        tenant: given.tenant,
        player_id: given.player,
        locale: "",
        extra: {}
      }
    }
    const answer = client.predict(request, {
      metadata: given.metadata,
      deadlineSeconds: Option.getOrUndefined(given.deadline)
    })

    const each = Effect.fnUntraced(function*(chunk: PredictChunk) {
      const notice = prefixes.some((prefix) => chunk.chunk.startsWith(prefix))
      if (chunk.chunk !== "" && !notice) {
        progress.tokens++
        progress.firstTokenMillis ??= monotonic() - began
      }
      progress.last = chunk
      yield* given.json ? printLine(JSON.stringify({ ...chunk, notice })) : show(chunk, notice, progress)
    })
    const closeLine = Effect.suspend(() => progress.endsWithNewline ? Effect.void : printLine("")).pipe(Effect.ignore)

    yield* Stream.runForEach(answer, each).pipe(
      Effect.ensuring(closeLine),
      Effect.onInterrupt(() =>
        Effect.sync(() => {
          process.exitCode = ExitCode.interrupted
        })
      ),
      Effect.catchTag("CallFailed", (error) => Effect.fail(explain(error, address)))
    )
    const millis = monotonic() - began
    if (given.verbose || process.stderr.isTTY) yield* remark(`${onStderr.dim(figures(progress, millis))}\n`)
  }).pipe(Effect.scoped)).pipe(
    Command.withDescription("Stream one answer to the terminal, through a running sidecar or from a worker's socket")
  )
