/** What has to be true of a pod with a worker and its sidecar, whoever wrote or rendered its manifests. */
import { Option, Schema } from "effect"
import { dirname } from "node:path"

const Text = Schema.String
const texts = Schema.Record(Text, Text)
const optional = Schema.optionalKey
const some = <S extends Schema.Top>(schema: S) => optional(Schema.Array(schema))

const Probe = Schema.Struct({
  httpGet: optional(Schema.Struct({ path: Text, port: Schema.Union([Text, Schema.Number]) })),
  periodSeconds: optional(Schema.Number),
  failureThreshold: optional(Schema.Number)
})

const Container = Schema.Struct({
  name: Text,
  restartPolicy: optional(Text),
  args: some(Text),
  env: some(Schema.Struct({ name: Text, value: optional(Text) })),
  ports: some(Schema.Struct({ name: Text, containerPort: Schema.Number })),
  startupProbe: optional(Probe),
  readinessProbe: optional(Probe),
  livenessProbe: optional(Probe),
  lifecycle: optional(
    Schema.Struct({ preStop: Schema.Struct({ sleep: Schema.Struct({ seconds: Schema.Number }) }) })
  ),
  volumeMounts: some(Schema.Struct({ name: Text, mountPath: Text, subPath: optional(Text) })),
  securityContext: optional(
    Schema.Struct({ readOnlyRootFilesystem: optional(Schema.Boolean), allowPrivilegeEscalation: Schema.Boolean })
  ),
  resources: optional(Schema.Struct({ limits: optional(Schema.Record(Text, Schema.Unknown)) }))
})
type Container = typeof Container.Type

const Pod = Schema.Struct({
  terminationGracePeriodSeconds: Schema.Number,
  securityContext: Schema.Struct({ runAsNonRoot: Schema.Boolean }),
  initContainers: Schema.Array(Container),
  containers: Schema.Array(Container),
  volumes: Schema.Array(Schema.Struct({
    name: Text,
    emptyDir: optional(Schema.Unknown),
    configMap: optional(Schema.Struct({ name: Text })),
    secret: optional(Schema.Struct({ secretName: Text }))
  }))
})

const StatefulSet = Schema.Struct({
  metadata: Schema.Struct({ name: Text }),
  spec: Schema.Struct({
    serviceName: Text,
    template: Schema.Struct({ metadata: Schema.Struct({ labels: optional(texts) }), spec: Pod }),
    volumeClaimTemplates: Schema.Array(Schema.Struct({ metadata: Schema.Struct({ name: Text }) }))
  })
})

/** What selects pods, each in its own place. */
const Selecting = Schema.Struct({
  spec: Schema.Struct({
    selector: optional(Schema.Union([Schema.Struct({ matchLabels: texts }), texts])),
    podSelector: optional(Schema.Struct({ matchLabels: texts }))
  })
})

const Scaling = Schema.Struct({
  spec: Schema.Struct({ scaleTargetRef: Schema.Struct({ kind: Text, name: Text }) })
})

export const Resource = Schema.Struct({
  apiVersion: Text,
  kind: Text,
  metadata: Schema.Struct({ name: Text }),
  data: optional(texts)
})
export type Resource = typeof Resource.Type

/** What a pod that leaves in good order takes beside its preStop: the manifests of a pod do not show it. */
export interface Facts {
  readonly drainSeconds: number
  /** The last flush of usage records; 15 by default. */
  readonly flushSeconds?: number | undefined
  /** 10 by default. */
  readonly workerStopSeconds?: number | undefined
}

const valueOf = (container: Container | undefined, name: string): string | undefined =>
  container?.env?.find((variable) => variable.name === name)?.value

const mountAt = (container: Container | undefined, file: string) =>
  container?.volumeMounts?.find(({ mountPath }) => dirname(file) === mountPath)

const selects = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean =>
  Object.keys(selector).length > 0 && Object.entries(selector).every(([key, value]) => labels[key] === value)

/** What is wrong with a pod, a sentence each. */
const podProblems = (
  pod: typeof Pod.Type,
  claims: ReadonlyArray<string>,
  { drainSeconds, flushSeconds = 15, workerStopSeconds = 10 }: Facts
): ReadonlyArray<string> => {
  const worker = pod.initContainers.find(({ name }) => name === "worker")
  const sidecar = pod.containers.find(({ name }) => name === "sidecar")
  const socket = valueOf(sidecar, "SIDECAR_WORKER_UDS")?.replace("unix://", "") ?? ""
  const healthPort = Number(valueOf(worker, "CY_LLM_HEALTH_PORT"))
  const metricsPort = Number(valueOf(sidecar, "SIDECAR_METRICS_PORT"))
  const grpcPort = Number(valueOf(sidecar, "SIDECAR_BIND_ADDR")?.split(":").at(-1))
  const portNamed = (name: string) => sidecar?.ports?.find((port) => port.name === name)?.containerPort
  const preStop = sidecar?.lifecycle?.preStop.sleep.seconds ?? 0
  const least = preStop + drainSeconds + flushSeconds + workerStopSeconds
  const journal = mountAt(sidecar, valueOf(sidecar, "SIDECAR_JOURNAL_PATH") ?? "")
  const sockets = mountAt(sidecar, socket)
  const secrets = pod.volumes.filter(({ secret }) => secret !== undefined).map(({ name }) => name)
  const tlsFiles = ["SIDECAR_TLS_CERT", "SIDECAR_TLS_KEY", "SIDECAR_TLS_CLIENT_CA"]
    .flatMap((name) => valueOf(sidecar, name) ?? [])
  const checks: ReadonlyArray<readonly [boolean, string]> = [
    [
      pod.terminationGracePeriodSeconds >= least,
      `grace ${pod.terminationGracePeriodSeconds} s is less than preStop + drain + flush + stop of the worker, ${least} s`
    ],
    [preStop > 0, "no preStop: new streams come when the sidecar already drains"],
    [worker?.restartPolicy === "Always", "the worker is no native sidecar"],
    [worker?.args?.some((arg) => arg.replace("unix://", "") === socket) === true, "the worker gets another socket"],
    [
      sockets !== undefined && mountAt(worker, socket)?.name === sockets.name &&
      pod.volumes.some(({ emptyDir, name }) => name === sockets.name && emptyDir !== undefined),
      "the socket's folder is not shared"
    ],
    [healthPort > 0 && healthPort !== metricsPort, "the worker's health server takes our metrics port"],
    [
      worker?.startupProbe?.httpGet === undefined || worker.startupProbe.httpGet.port === healthPort,
      "the startup probe asks another port"
    ],
    [portNamed("metrics") === metricsPort && portNamed("grpc") === grpcPort, "ports and settings disagree"],
    [
      sidecar?.readinessProbe?.httpGet?.path === "/readyz" && sidecar.readinessProbe.httpGet.port === "metrics",
      "readiness does not ask /readyz"
    ],
    [
      sidecar?.livenessProbe?.httpGet?.path === "/healthz" && sidecar.livenessProbe.httpGet.port === "metrics",
      "liveness does not ask /healthz"
    ],
    [journal !== undefined && claims.includes(journal.name), "the journal does not outlive the pod"],
    [
      tlsFiles.every((file) => {
        const mount = mountAt(sidecar, file)
        return mount !== undefined && mount.subPath === undefined && secrets.includes(mount.name)
      }),
      "TLS files are not in a Secret's folder, or stay as they were when it changes"
    ],
    [
      pod.securityContext.runAsNonRoot && sidecar?.securityContext?.readOnlyRootFilesystem === true &&
      !sidecar.securityContext.allowPrivilegeEscalation,
      "the sidecar has more rights than it needs"
    ]
  ]
  return checks.filter(([holds]) => !holds).map(([, problem]) => problem)
}

/** The file that `SIDECAR_CONFIG` names, from the ConfigMap that is mounted there. */
export const configFile = (resources: ReadonlyArray<unknown>): string | undefined => {
  for (const resource of resources) {
    const { spec } = Option.getOrUndefined(Schema.decodeUnknownOption(StatefulSet)(resource)) ?? {}
    if (spec === undefined) continue
    const { containers, volumes } = spec.template.spec
    const sidecar = containers.find(({ name }) => name === "sidecar")
    const mount = mountAt(sidecar, valueOf(sidecar, "SIDECAR_CONFIG") ?? "")
    const configMap = volumes.find(({ name }) => name === mount?.name)?.configMap?.name
    const map = resources.flatMap((other) => Option.toArray(Schema.decodeUnknownOption(Resource)(other)))
      .find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === configMap)
    return map?.data?.["sidecar.toml"]
  }
  return undefined
}

/** What is wrong with the resources of one deployment, a sentence each. */
export const problems = (resources: ReadonlyArray<unknown>, facts: Facts): ReadonlyArray<string> => {
  const all = resources.map((resource) => Schema.decodeUnknownSync(Resource)(resource))
  const found = all.flatMap((resource, index) => {
    if (resource.kind !== "StatefulSet") return []
    const { metadata, spec } = Schema.decodeUnknownSync(StatefulSet)(resources[index])
    const labels = spec.template.metadata.labels ?? {}
    const claims = spec.volumeClaimTemplates.map(({ metadata: { name } }) => name)
    const own = podProblems(spec.template.spec, claims, facts)
    const service = all.some(({ kind, metadata: { name } }) => kind === "Service" && name === spec.serviceName)
    const others = all.flatMap(({ kind, metadata: { name } }, other) => {
      const place = `${kind} ${name}`
      if (["ScaledObject", "HorizontalPodAutoscaler"].includes(kind)) {
        const { kind: target, name: targetName } =
          Schema.decodeUnknownSync(Scaling)(resources[other]).spec.scaleTargetRef
        return target === "StatefulSet" && targetName === metadata.name ? [] : [`${place} scales something else`]
      }
      if (!["Service", "PodDisruptionBudget", "PodMonitor", "NetworkPolicy"].includes(kind)) return []
      const { podSelector, selector } = Schema.decodeUnknownSync(Selecting)(resources[other]).spec
      const given = podSelector ?? selector ?? {}
      const labelled = Option.getOrElse(
        Schema.decodeUnknownOption(texts)(given),
        () => Schema.decodeUnknownSync(Schema.Struct({ matchLabels: texts }))(given).matchLabels
      )
      return selects(labelled, labels) ? [] : [`${place} selects other pods`]
    })
    return [...own, ...(service ? [] : ["the StatefulSet's Service is missing"]), ...others]
  })
  return all.some(({ kind }) => kind === "StatefulSet") ? found : ["there is no StatefulSet"]
}
