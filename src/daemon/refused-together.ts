// What libvirt does not let be asked for together, whatever the guest is, with its codes: checked by each side, at each
// step that a client asks. Facts: facts/libvirt-migration-detail.md, Prepare 2 and Begin 4.

import { copiesStorage } from "./copied-storage.js";
import { no } from "./errors.js";
import type { StepWords } from "./step-words.js";

/** `isPrepared`: the stream of a tunnel is there. @throws LibvirtError */
export function checkTogether(words: StepWords, tunnel: { readonly isPrepared: boolean }): void {
  checkStorage(words);
  checkPostcopy(words);
  checkTunnel(words, tunnel);
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
  { isPrepared }: { readonly isPrepared: boolean },
): void {
  if (!flags.has("TUNNELLED")) return;
  if (flags.has("OFFLINE")) throw no("OPERATION_INVALID", "an offline migration has nothing to tunnel");
  if (!isPrepared && !flags.has("PEER2PEER"))
    throw no("OPERATION_INVALID", "a tunnelled migration has to be peer-to-peer");
  const { uri, listenAddress, disksPort, disksUri } = parameters;
  if (uri !== undefined || listenAddress !== undefined)
    throw no("ARGUMENT_UNSUPPORTED", "a tunnel has no migration URI and no listen address");
  if (disksPort !== undefined || disksUri !== undefined)
    throw no("ARGUMENT_UNSUPPORTED", "a tunnel has no place for disks");
}
