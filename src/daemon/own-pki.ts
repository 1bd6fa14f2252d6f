// Adds the configured certificates to the URIs that this daemon connects to by TLS, unless the URI names others.

import { anywhere, type ConnectionUri, connectionUri } from "../protocol/peer-text.js";
import type { DaemonConfig } from "./config.js";

export function withOwnCertificates({ tls }: DaemonConfig, uri: ConnectionUri): ConnectionUri {
  if (tls?.pkiPath === undefined) return uri;
  const url = new URL(uri);
  const byTls = url.protocol === "qemu+tls:" || (url.protocol === "qemu:" && url.host !== "");
  if (!byTls || url.searchParams.has("pkipath")) return uri;
  url.searchParams.set("pkipath", tls.pkiPath);
  return connectionUri(url.href, { ...anywhere, certificates: true });
}
