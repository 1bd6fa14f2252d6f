// What libvirt does not let be asked for together, whatever the guest is, with its codes: checked by each side, at each
// step that a client asks. Facts: facts/libvirt-migration-detail.md, Prepare 2 and Begin 4.

import { streamRefusal, streamWishOf } from "../../drivers/libvirt/client/stream-options.js";
import { messageOf } from "../../protocol/effect-result.js";
import { checkStream } from "../../protocol/stream.js";
import { no } from "../rpc/errors.js";
import { copiesStorage } from "./copied-storage.js";
import type { StepWords } from "./request.js";

export interface Asking {
  readonly side: "source" | "destination";
  /** The stream of a tunnel is there. */
  readonly isTunnelPrepared?: boolean;
}

/** @throws LibvirtError */
export function checkTogether(words: StepWords, asking: Asking): void {
  checkStorage(words);
  checkPostcopy(words);
  checkTunnel(words, asking);
  checkMemory(words, asking);
}

function checkStorage(words: StepWords): void {
  const { flags, parameters } = words;
  const { disks, disksPort, disksUri } = parameters;
  if (disksPort !== undefined && !(disksPort >= 0 && disksPort <= 65_535))
    throw no("INVALID_ARG", "nbd port must be in range 0-65535");
  if (disksPort !== undefined && disksUri !== undefined)
    throw no("INVALID_ARG", "the place for the disks is given by a port or by a URI, not by both");
  if (!copiesStorage(words)) {
    if (disks !== undefined)
      throw no("OPERATION_UNSUPPORTED", "disks are chosen only where storage is copied");
    if (flags.has("NON_SHARED_SYNCHRONOUS_WRITES"))
      throw no("INVALID_ARG", "synchronous writes are for storage that is copied");
    return;
  }
  if (flags.has("NON_SHARED_DISK") && flags.has("NON_SHARED_INC"))
    throw no("INVALID_ARG", "storage is copied either in full or incrementally");
  if (flags.has("OFFLINE")) throw no("OPERATION_INVALID", "an offline migration copies no storage");
  if (flags.has("TUNNELLED"))
    throw no("OPERATION_UNSUPPORTED", "storage is copied over a connection of its own, not through a tunnel");
}

function checkPostcopy({ flags }: StepWords): void {
  if (!flags.has("POSTCOPY")) return;
  if (flags.has("TUNNELLED")) throw no("ARGUMENT_UNSUPPORTED", "post-copy does not go through a tunnel");
  if (!flags.has("LIVE") || flags.has("PAUSED"))
    throw no("ARGUMENT_UNSUPPORTED", "post-copy is for a guest that runs, and is to run");
}

function checkTunnel(
  { flags, parameters }: StepWords,
  { isTunnelPrepared = false }: Pick<Asking, "isTunnelPrepared">,
): void {
  if (!flags.has("TUNNELLED")) return;
  if (flags.has("OFFLINE")) throw no("OPERATION_INVALID", "an offline migration has nothing to tunnel");
  if (!isTunnelPrepared && !flags.has("PEER2PEER"))
    throw no("OPERATION_INVALID", "a tunnelled migration has to be peer-to-peer");
  const { uri, listenAddress, disksPort, disksUri } = parameters;
  if (uri !== undefined || listenAddress !== undefined)
    throw no("ARGUMENT_UNSUPPORTED", "a tunnel has no migration URI and no listen address");
  if (disksPort !== undefined || disksUri !== undefined)
    throw no("ARGUMENT_UNSUPPORTED", "a tunnel has no place for disks");
  if (flags.has("PARALLEL"))
    throw no("INVALID_ARG", "a tunnel carries one connection, and PARALLEL has several");
  if (flags.has("TLS"))
    throw no("ARGUMENT_UNSUPPORTED", "a tunnel is as safe as its connection: take a TLS URI instead of TLS");
}

function checkMemory(words: StepWords, { side }: Asking): void {
  const { flags } = words;
  if (flags.has("OFFLINE")) return;
  if (flags.has("ZEROCOPY") && !flags.has("PARALLEL"))
    throw no("OPERATION_INVALID", "zero-copy is only available for parallel migration");
  // The destination hears its figures, and not of it.
  const { autoConvergeInitialPercent, autoConvergeIncrementPercent, ...ofBoth } = words.parameters;
  const parameters = side === "source" ? words.parameters : ofBoth;
  const refused = streamRefusal({ flags, parameters });
  if (refused !== undefined) throw no("INVALID_ARG", refused);
  try {
    checkStream(streamWishOf({ flags, parameters }), "tcp");
  } catch (error) {
    throw no("INVALID_ARG", messageOf(error), { cause: error });
  }
}
