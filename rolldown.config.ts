/**
 * The program as few files, with only what it uses: opening and compiling the hundreds of modules of `effect` one by one
 * takes longer than everything else at a start. What a command needs only sometimes stays a chunk of its own, and gRPC and
 * prom-client stay packages. What embedders import is built by `tsc` and not bundled: they bring their own `effect`.
 */
import { readdirSync, readFileSync } from "node:fs"
import { findPackageJSON } from "node:module"
import { dirname, join } from "node:path"
import { defineConfig, type Plugin } from "rolldown"

/** The licences of the packages that went into the bundle want to go where it goes. */
const licences: Plugin = {
  name: "licences",
  generateBundle(_, bundle) {
    const modules = Object.values(bundle).flatMap((file) => file.type === "chunk" ? file.moduleIds : [])
    const folders = new Set(
      modules.filter((id) => id.includes("node_modules")).map((id) => dirname(findPackageJSON(".", id) ?? id))
    )
    const texts = [...folders].sort().map((folder) => {
      const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
      const file = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file))
      if (file === undefined) throw new Error(`${name} has no licence to pass on`)
      return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`
    })
    this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) })
  }
}

export default defineConfig({
  // The thread of the journal is found beside the chunk that starts it.
  input: { sidecar: "src/main.ts", SqliteJournalThread: "src/layers/SqliteJournalThread.ts" },
  platform: "node",
  external: [/^@grpc\//, "grpc-health-check", "prom-client"],
  plugins: [licences],
  output: {
    dir: "dist/bin",
    cleanDir: true,
    format: "esm",
    // One character beyond Latin-1 would double the memory of its file's text.
    charset: "ascii",
    entryFileNames: "[name].js",
    chunkFileNames: "[name]-[hash].js",
    comments: { legal: true, annotation: false, jsdoc: false }
  }
})
