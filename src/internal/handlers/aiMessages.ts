import { lastBytes, text } from "../wire/protobuf.ts"

/** A longer command is none of ours: it is not even decoded. */
const MAX_COMMAND_BYTES = 256

/** The command of a ControlMessage (field 2); `undefined` when the bytes are not one. */
export const commandOf = (message: Uint8Array): string | undefined => {
  const command = lastBytes(message, 2)
  return command === undefined || command.length > MAX_COMMAND_BYTES ? undefined : text(command)
}
