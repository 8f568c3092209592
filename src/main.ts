#!/usr/bin/env node
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { program } from "./cli.ts"
import { teardown } from "./cli/exit.ts"
import { endOnSecondSignal, tolerateBrokenPipe } from "./cli/process.ts"

endOnSecondSignal()
tolerateBrokenPipe()
NodeRuntime.runMain(program, { teardown, disableErrorReporting: true })
