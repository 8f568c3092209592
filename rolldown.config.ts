/**
 * The program as few files, with only what it uses: opening and compiling the hundreds of modules of `effect` one by one
 * takes longer than everything else at a start. What a command needs only sometimes stays a chunk of its own; packages it
 * needs none, so that an image is these files and Node. What embedders import is built by `tsc` and not bundled: they bring
 * their own `effect`.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { defineConfig, type Plugin } from "rolldown"

interface Manifest {
  readonly name: string
  readonly version: string
  readonly license: string
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))

const purl = (name: string, version: string): string => `pkg:npm/${name.replace("@", "%40")}@${version}`

/** What went into the bundle goes where it goes: the licences as they want it, and the names as an SBOM (CycloneDX). */
const contents: Plugin = {
  name: "contents",
  generateBundle(_, bundle) {
    const modules = Object.values(bundle).flatMap((file) => file.type === "chunk" ? file.moduleIds : [])
    const folders = new Set(modules.flatMap((id) => /^.*node_modules.(?:@[^/\\]+.)?[^/\\]+/.exec(id) ?? []))
    const packages = [...folders].sort().map((folder) => ({ folder, ...manifestOf(folder) }))
    const texts = packages.map(({ folder, name, version }) => {
      const file = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file))
      if (file === undefined) throw new Error(`${name} has no licence to pass on`)
      return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`
    })
    this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) })
    const component = ({ license, name, version }: Manifest, type: "application" | "library") => ({
      type,
      "bom-ref": purl(name, version),
      name,
      version,
      purl: purl(name, version),
      licenses: [{ expression: license }]
    })
    const sbom = {
      bomFormat: "CycloneDX",
      specVersion: "1.5",
      version: 1,
      metadata: { component: component(manifestOf(import.meta.dirname), "application") },
      components: packages.map((one) => component(one, "library"))
    }
    this.emitFile({ type: "asset", fileName: "sbom.cdx.json", source: `${JSON.stringify(sbom, null, 2)}\n` })
  }
}

/** Where gRPC's packages find their proto files when they look for `../../proto`: in this package's `proto/`. */
const protoFiles: Plugin = {
  name: "proto-files",
  resolveId: (source) => source === "sidecar:proto-files" ? `\0${source}` : null,
  load: (id) =>
    id === "\0sidecar:proto-files"
      ? `import { findPackageJSON } from "node:module"
         import { join } from "node:path"
         export const directory = join(findPackageJSON(import.meta.url), "../from/here")`
      : null,
  transform: (code, id) =>
    /node_modules.(@grpc|grpc-)/.test(id) && code.includes("__dirname")
      ? `const __dirname = require("sidecar:proto-files").directory\n${code}`
      : null
}

export default defineConfig({
  // The thread of the journal is found beside the chunk that starts it.
  input: { sidecar: "src/main.ts", SqliteJournalThread: "src/layers/SqliteJournalThread.ts" },
  platform: "node",
  plugins: [protoFiles, contents],
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
