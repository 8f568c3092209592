import { assert, describe, it } from "@effect/vitest"
import { loadSync } from "@grpc/proto-loader"
import { protoPath as healthProto } from "grpc-health-check"
import descriptor from "protobufjs/ext/descriptor/index.js"
import { protoPath } from "../../src/internal/client/aiProto.ts"
import { withMapEntryNames } from "../../src/internal/handlers/mapEntries.ts"

interface Field {
  readonly name: string
  readonly typeName?: string
}
interface Message {
  readonly name: string
  readonly field?: ReadonlyArray<Field>
  readonly nestedType?: ReadonlyArray<Message & { readonly options?: { readonly mapEntry?: boolean } }>
}
interface File {
  readonly messageType: ReadonlyArray<Message>
}

const fileOf = (path: string): Buffer => {
  for (const definition of Object.values(loadSync(path, { keepCase: true }))) {
    const [file] = Array.isArray(definition.fileDescriptorProtos) ? definition.fileDescriptorProtos : []
    if (file !== undefined) return file
  }
  return assert.fail(`${path} has no messages`)
}

const decode = (bytes: Uint8Array): File => descriptor.FileDescriptorProto.decode(bytes).toJSON() as unknown as File

const mapsOf = (file: File): ReadonlyArray<string> =>
  file.messageType.flatMap((message) =>
    (message.nestedType ?? []).filter(({ options }) => options?.mapEntry === true).map((entry) => {
      const users = (message.field ?? []).filter(({ typeName }) => typeName === entry.name)
      return `${message.name}.${users.map(({ name }) => name).join()}: ${entry.name}`
    })
  )

describe("the descriptors that reflection serves", () => {
  it("name the entries of maps as protoc does, or grpcurl and protobuf's own libraries refuse the file", () => {
    assert.deepStrictEqual(mapsOf(decode(withMapEntryNames(fileOf(protoPath)))), [
      "StreamMetadata.extra: ExtraEntry",
      "ControlMessage.payload: PayloadEntry",
      "WorkerHealthResponse.metrics: MetricsEntry",
      "CustomScriptExecutionRequest.env: EnvEntry",
      "CustomScriptExecutionProgress.metrics: MetricsEntry"
    ])
    assert.deepStrictEqual(mapsOf(decode(withMapEntryNames(fileOf(healthProto)))), [
      "HealthListResponse.statuses: StatusesEntry"
    ])
  })

  it("are otherwise those of the proto file", () => {
    const before = fileOf(protoPath)
    const names = /"(Extra|Payload|Metrics|Env)(?:Entry)?"/g
    const plain = (file: File) => JSON.stringify(file).replaceAll(names, (_, name: string) => `"${name}"`)
    assert.strictEqual(plain(decode(withMapEntryNames(before))), plain(decode(before)))
  })
})
