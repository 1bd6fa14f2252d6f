// Derives the options of the memory stream from libvirt's flags and parameters.

import { type AskedOfLibvirt, askedByLibvirt, streamOf } from "../../../protocol/options/asked.js";
import type { StreamOptions, TlsOptions } from "../../../protocol/stream.js";

/** `tls` is this host's TLS configuration. An unknown compression method is omitted. */
export function streamWishOf(
  asked: AskedOfLibvirt,
  ofHost: Omit<TlsOptions, "hostname"> = {},
): StreamOptions {
  const { tls, ...stream } = streamOf(askedByLibvirt(asked));
  return tls === undefined ? stream : { ...stream, tls: { ...ofHost, ...tls } };
}
