// Where this daemon goes by TLS, it shows the certificates of its own configuration, unless the URI names others.

import type { DaemonConfig } from "./config.js";

export function withOwnPki<U extends string | undefined>({ tls }: DaemonConfig, uri: U): U | string {
  if (tls?.pkiPath === undefined || uri === undefined || !URL.canParse(uri)) return uri;
  const url = new URL(uri);
  const byTls = url.protocol === "qemu+tls:" || (url.protocol === "qemu:" && url.host !== "");
  if (!byTls || url.searchParams.has("pkipath")) return uri;
  url.searchParams.set("pkipath", tls.pkiPath);
  return url.href;
}
