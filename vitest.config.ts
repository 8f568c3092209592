import { availableParallelism } from "node:os"
import { configDefaults, defineConfig } from "vitest/config"
import { SlowFirst } from "./test/support/run/slowFirst.ts"

/** Real sockets, real processes, foreign peers, files and threads: these wait for other processes and share the machine. */
const wire = [
  "test/cli/**/*.test.ts",
  "test/conformance/**/*.test.ts",
  "test/deploy/{alerts,image,prometheus,rendered,systemd,workflows}.test.ts",
  "test/http2/peers/**/*.test.ts",
  "test/twins/**/*.test.ts",
  "test/wire/**/*.test.ts",
  "test/layers/SqliteJournal*.test.ts",
  "test/layers/tornJournal.test.ts",
  "test/mutations/**/*.test.ts",
  "test/simulation/exploreCommand.test.ts",
  "test/walls.test.ts"
]

/** What measures memory, or wants the machine for itself: one file at a time, when all others are done. */
const alone = ["test/wire/memory.test.ts"]

/** A browser, and a whole night: only with the long forms, a run has no time for them. */
const longOnly = ["test/browser/**/*.test.ts", "test/night/**/*.test.ts"]

/** Files with a long form (`test/support/run/soak.ts`), and those that only run with it. */
const soak = [
  ...longOnly,
  "test/layers/BillingReporter.test.ts",
  "test/layers/SupervisedConnection.random.test.ts",
  "test/mutations/**/*.test.ts",
  "test/conformance/ccore.test.ts",
  "test/deploy/prometheus.test.ts",
  "test/http2/fuzz/*.test.ts",
  "test/simulation/explorer.test.ts",
  "test/simulation/leaks.test.ts",
  "test/wire/fleet.test.ts",
  "test/wire/memory.test.ts",
  "test/wire/usageCrash.test.ts"
]

/** In a run whose long forms follow (`.ci/run`), their files are not played twice. */
const later = process.env["LONG_FORMS_FOLLOW"] === "1" ? soak : []

/** The daemon that these run is built once before them. */
const withProgram = { globalSetup: ["test/support/run/program.ts"] }

export default defineConfig(({ mode }) => ({
  test: {
    // Real processes and sockets: a hung test is told by its name; no test relies on this limit to pass.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: availableParallelism(),
    // Node loads the sources itself, as it does where they are run: no second compiler, and what it loads is what was tested.
    experimental: { viteModuleRunner: false },
    sequence: { sequencer: SlowFirst },
    coverage: { provider: "v8", include: ["src/**"], reporter: ["text-summary", "lcov"] },
    projects: mode === "soak"
      ? [{
        extends: true,
        test: {
          name: "soak",
          include: soak,
          env: { SOAK: "1" },
          testTimeout: 600_000,
          // Half of them wait: for a broker, a browser, Prometheus.
          maxWorkers: availableParallelism() + 2,
          ...withProgram
        }
      }]
      : [
        {
          extends: true,
          test: {
            name: "fast",
            include: ["test/**/*.test.ts"],
            exclude: [...configDefaults.exclude, ...wire, ...alone, ...longOnly, ...later],
            // Pure code on virtual time: its files may share their modules.
            isolate: false
          }
        },
        {
          extends: true,
          test: {
            name: "wire",
            include: wire,
            exclude: [...configDefaults.exclude, ...alone, ...later],
            // Their processes are their own, their modules may be everybody's.
            isolate: false,
            // They wait for their processes half of the time.
            maxWorkers: availableParallelism() + 2,
            sequence: { groupOrder: 1 },
            ...withProgram
          }
        },
        {
          extends: true,
          test: {
            name: "alone",
            include: alone,
            exclude: [...configDefaults.exclude, ...later],
            fileParallelism: false,
            sequence: { groupOrder: 2 },
            ...withProgram
          }
        }
      ]
  }
}))
