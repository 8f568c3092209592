import { parseWorkerAddress } from "../../services/Address.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { DownReason } from "../../services/WorkerConnection.ts"

const isTcp = ({ server }: Settings): boolean => parseWorkerAddress(server.worker_uds)?._tag === "Tcp"

/** One sentence for the operator: what to do about a worker that is not there, naming the key that decides it. */
export const remedyFor = (settings: Settings, address: string) => (reason: DownReason): string => {
  const { health } = settings
  switch (reason) {
    case "SocketMissing":
      return `start the worker, or set [server] worker_uds to the socket it listens on (now ${address})`
    case "ConnectionRefused":
      if (isTcp(settings)) {
        return `start the worker, or set [server] worker_uds to the address it listens on (now ${address})`
      }
      return `the worker died and left its socket file behind: start it again, on ${address} ([server] worker_uds)`
    case "PermissionDenied":
      return `give the sidecar's user read and write permission on ${address} and on its folder ([server] worker_uds)`
    case "NotASocket":
      return `${address} is not a Unix socket: correct [server] worker_uds`
    case "PathTooLong":
      return `a Unix socket's path has at most 107 bytes: choose a shorter [server] worker_uds than ${address}`
    case "ForeignSocket":
      return `start the worker as root or as the sidecar's user, or name its user in [server] worker_user; a socket in ` +
        "/tmp can be made by anybody, a folder under /run by its owner only"
    case "HostUnknown":
      return `correct the host in [server] worker_uds (now ${address}), or its entry in the name service`
    case "HostUnreachable":
      return `look at the network between here and ${address} ([server] worker_uds): routes, firewall, NetworkPolicy`
    case "NotGrpc":
      return `something else than a gRPC server answers on ${address}: correct [server] worker_uds`
    case "DialTimeout":
      return `the worker accepted and said nothing for ${health.check_timeout_secs}s ([health] check_timeout_secs): ` +
        `it hangs, is stopped, or is still starting; look at its log`
    case "LinkBroken":
      return "the worker crashed or was restarted: look at its log"
    case "GoingAway":
      return "the worker is shutting down in good order; it is dialled again until it is back"
    case "Unhealthy":
      return "the worker says so itself: its log says why"
    case "HealthTimeout":
      return "the worker hangs, or all its threads are busy ([health] check_timeout_secs, failure_threshold; " +
        "[server] max_worker_streams)"
    case "HealthFailed":
      return `the worker answers cy.llm.AiInference/Health with an error: is ${address} a CY-LLM worker ([server] worker_uds)?`
    case "ReloadTooLong":
      return "look at the worker's log; raise [reload] max_reload_secs for a model that takes longer"
    case "Stopped":
      return "the sidecar is stopping"
  }
}
