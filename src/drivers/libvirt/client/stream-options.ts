// What libvirt's flags and parameters wish of the memory stream.

import { type AskedOfLibvirt, askedByLibvirt, streamOf } from "../../../protocol/options/asked.js";
import type { StreamOptions, TlsOptions } from "../../../protocol/stream.js";

/** `tls`: what is known of this host's side of it. A method of compression that is not known is left out. */
export function streamWishOf(
  asked: AskedOfLibvirt,
  ofHost: Omit<TlsOptions, "hostname"> = {},
): StreamOptions {
  const { tls, ...stream } = streamOf(askedByLibvirt(asked));
  return tls === undefined ? stream : { ...stream, tls: { ...ofHost, ...tls } };
}
