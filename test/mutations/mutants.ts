/** A fault that is planted on purpose, and the rule of the explorer that must find it. */
export interface Mutant {
  readonly name: string
  readonly edits: ReadonlyArray<{
    readonly file: string
    /** Occurs exactly once in the file. */
    readonly find: string
    readonly replace: string
  }>
  /** A rule that is broken by it, or one of several. */
  readonly found: ReadonlyArray<string>
}

const FAREWELL = "a worker that says goodbye never costs a stream more than one that is killed"

const READY = "who is ready serves or holds the stream that comes, and who is not serves none"

const path = (file: string): string => `src/internal/stream/${file}.ts`

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "replays after a token",
    edits: [
      {
        file: path("replay"),
        find: "delivered === 0 && replayable && (reason",
        replace: "delivered >= 0 && (replayable || !replayable) && (reason"
      },
      { file: path("delivery"), find: "    log.forget()\n", replace: "" }
    ],
    found: [
      "nothing is sent to a worker after a token has been",
      "the gateway gets a prefix of the worker's tokens: none twice, none lost, none invented"
    ]
  },
  {
    name: "holds without bound in time",
    edits: [{
      file: path("streamWatch"),
      find: "this.#patienceAt = now + patienceMillis",
      replace: "this.#patienceAt = phase === \"held\" ? Number.POSITIVE_INFINITY : now + patienceMillis"
    }],
    found: ["nothing is held past its limits", "every stream ends within its limits"]
  },
  {
    name: "holds without bound in number",
    edits: [{
      file: "src/internal/stream/waitingRoom.ts",
      find:
        "if (this.#waiting.size >= max_held_streams || this.#bytes + stream.heldBytes > max_held_bytes) return false",
      replace: "if (max_held_streams + max_held_bytes < 0) return false"
    }],
    found: ["no more is held, queued or in flight than the limits say"]
  },
  {
    name: "counts notices as tokens",
    edits: [{
      file: "src/internal/stream/peek.ts",
      find: "      counts.notices++\n      return",
      replace: "      counts.notices++\n      break"
    }],
    found: ["the record counts what was delivered"]
  },
  {
    name: "loses the gateway's cancel on the way to the worker",
    edits: [{ file: "src/internal/wire/pulledCall.ts", find: "    this.abandon()\n", replace: "" }],
    found: ["a stream that is over is over at the worker, too, and comes there no more"]
  },
  {
    name: "leaves Reloading when the socket vanishes",
    edits: [{
      file: "src/internal/connection/evidence.ts",
      find: "      if (state._tag === \"Reloading\") return now.announced ? { ...now, announced: false } : now\n" +
        "      return down(evidence.at, evidence.reason, evidence.detail)",
      replace: "      return down(evidence.at, evidence.reason, evidence.detail)"
    }],
    found: ["a reload ends with the worker's word or after max_reload_secs, not with its socket"]
  },
  {
    name: "repeats notices that were delivered",
    edits: [{
      file: path("open"),
      find: "new ReplayedFrames(known, tally.frames, env.peek)",
      replace: "new ReplayedFrames(known, 0, env.peek)"
    }],
    found: ["loading notices come once, in order, before the first token"]
  },
  {
    name: "forgets the deadline of a stream that is held",
    edits: [{
      file: path("streamWatch"),
      find: "        return Math.min(this.deadlineAt, this.#patienceAt)",
      replace: "        return this.#patienceAt"
    }],
    found: ["a deadline is kept, whatever the gateway reads"]
  },
  {
    name: "invents an OK when the link breaks",
    edits: [{
      file: path("replies"),
      find: "return Effect.succeed(tally.ended)",
      replace: "return Effect.succeed(tally.ended || tally.chunks > 0)"
    }],
    found: ["OK means that the whole answer was read"]
  },
  {
    name: "lets the last one of those that wait go first",
    edits: [{
      file: "src/internal/stream/waitingRoom.ts",
      find: "for (const stream of this.#waiting) {",
      replace: "for (const stream of [...this.#waiting].reverse()) {"
    }],
    found: ["streams that wait for the worker reach it in the order of their arrival"]
  },
  {
    name: "gives a place at the worker back twice",
    edits: [{
      file: path("streamUnderWay"),
      find: "    this.#place = false\n    this.env.places.giveBack(this)",
      replace: "    this.#place = false\n    this.env.places.giveBack(this)\n    this.env.places.giveBack(this)"
    }],
    found: ["no more streams are at the worker than max_worker_streams"]
  },
  {
    name: "keeps a place at the worker for ever",
    edits: [{
      file: path("streamUnderWay"),
      find: "    this.#place = false\n    this.env.places.giveBack(this)",
      replace: "    this.#place = false"
    }],
    found: ["after the healing new streams are answered"]
  },
  {
    name: "dials a flapping worker without a pause",
    edits: [{
      file: "src/internal/connection/supervision.ts",
      find: "upMillis >= stableMillis",
      replace: "stableMillis > 0"
    }],
    found: ["the worker is dialled again after a wait, unless it said GOAWAY or its address has changed"]
  },
  {
    name: "forgets to write the end of a stream that was cancelled",
    edits: [{
      file: path("predict"),
      find: "Effect.flatMap(meter.close(tally, end), () => {",
      replace: "Effect.flatMap(end.outcome === \"cancelled\" ? Effect.void : meter.close(tally, end), () => {"
    }],
    found: ["one usage record for each admitted stream"]
  },
  {
    name: "lets connection headers of a gateway pass to the worker",
    edits: [{
      file: "src/internal/wire/metadata.ts",
      find: "  !NEVER.has(key) && KEY.test(key)",
      replace: "  KEY.test(key)"
    }],
    found: ["only metadata that may pass reaches the worker, within its limit"]
  },
  {
    name: "takes new streams while it drains",
    edits: [{
      file: "src/internal/stream/admission.ts",
      find: "  if (facts.draining()) return () => new E.Draining({ delivered: 0 })\n",
      replace: ""
    }],
    found: ["a sidecar that drains takes no new streams"]
  },
  {
    name: "takes the RST of a missed deadline for a cancellation",
    edits: [{
      file: "src/internal/stream/deadline.ts",
      find: "const TOLERANCE_MILLIS = 100",
      replace: "const TOLERANCE_MILLIS = 0"
    }],
    found: ["a gateway that leaves when its time is over has missed its deadline, and one that leaves before has not"]
  },
  {
    name: "takes a cancellation near the deadline for a missed deadline",
    edits: [{
      file: "src/internal/stream/deadline.ts",
      find: "const TOLERANCE_MILLIS = 100",
      replace: "const TOLERANCE_MILLIS = 2500"
    }],
    found: [
      "a gateway that leaves when its time is over has missed its deadline, and one that leaves before has not",
      "every end has its reason"
    ]
  },
  {
    name: "loses the deadline of a call that it only carries",
    edits: [{
      file: path("passthrough"),
      find: "      watchdog.add(limits)\n",
      replace: ""
    }],
    found: ["a deadline is kept, whatever the gateway reads", "every stream ends, and the sidecar's work for it"]
  },
  {
    name: "takes the wish for a new connection for the loss of the worker",
    edits: [{
      file: "src/layers/SupervisedConnection.ts",
      find: "politely && link._tag === \"Connected\" ? Evidence.Parted(news) : Evidence.Lost(news)",
      replace: "Evidence.Lost(news)"
    }],
    found: [FAREWELL]
  },
  {
    name: "does not wait for a worker that said goodbye",
    edits: [{
      file: "src/internal/connection/evidence.ts",
      find: "      if (state._tag === \"Connected\" && state.renewing === true) {\n" +
        "        return restart(evidence.at, evidence.reason, evidence.detail)\n      }\n" +
        "      if (state._tag === \"Reloading\" && state.restarting === true) {\n        return { ...now, announced",
      replace:
        "      if (state._tag === \"Reloading\" && state.restarting === true) {\n        return { ...now, announced"
    }],
    found: [FAREWELL]
  },
  {
    name: "takes the goodbye of a worker for its answer",
    edits: [{
      file: "src/internal/stream/dismissal.ts",
      find: "link?.isGoingAway() === true",
      replace: "link?.isGoingAway() === undefined"
    }],
    found: [FAREWELL]
  },
  {
    name: "does not count the acknowledgement of a PING as a sign of life",
    edits: [{ file: "src/internal/connection/workerSession.ts", find: "        acknowledged++\n", replace: "" }],
    found: ["a saturated worker that acknowledges is never cut"]
  },
  {
    name: "is ready while there is no room for one more stream",
    edits: [{
      file: "src/internal/stream/waitingRoom.ts",
      find: "return this.#waiting.size >= max_held_streams || this.#bytes >= max_held_bytes",
      replace: "return this.#waiting.size > max_held_streams + max_held_bytes"
    }],
    found: [READY]
  },
  {
    name: "is ready while the circuit is open",
    edits: [{
      file: "src/internal/stream/admission.ts",
      find: "const retryAfterMillis = facts.circuitMillis()",
      replace: "const retryAfterMillis = 0 * facts.circuitMillis()"
    }],
    found: [READY]
  }
]
