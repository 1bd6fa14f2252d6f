// Builds the inspector's page: one file that contains its script, its style and the drawings of the machines, with a content
// security policy that blocks everything else.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, type Plugin } from "esbuild";
import { layoutAll } from "./layout-machines.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const from = join(root, "src/inspector/page");
const to = join(root, "dist/inspector/page.html");
/** The maximum size of the compressed page. */
const maxBytes = 600_000;

const charts: Plugin = {
  name: "charts",
  setup: ({ onLoad, onResolve }) => {
    onResolve({ filter: /^virtual:charts$/ }, ({ path }) => ({ path, namespace: "charts" }));
    onLoad({ filter: /./, namespace: "charts" }, async () => ({
      contents: `export const overview = ${JSON.stringify(await layoutAll(false))}; export const whole = ${JSON.stringify(await layoutAll(true))};`,
      loader: "js",
    }));
    onResolve({ filter: /^node:zlib$/ }, () => ({ path: join(from, "zlib.ts") }));
  },
};

const { outputFiles } = await build({
  entryPoints: [join(from, "main.tsx")],
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: "es2022",
  legalComments: "eof",

  jsx: "automatic",
  jsxImportSource: "preact",
  plugins: [charts],
  tsconfig: join(from, "tsconfig.json"),
  logLevel: "warning",
});
const script = (outputFiles[0]?.text ?? "").replaceAll("</script", "<\\/script");
const css = await build({
  stdin: {
    contents: '@import "uplot/dist/uPlot.min.css"; @import "./style.css";',
    loader: "css",
    resolveDir: from,
  },
  bundle: true,
  minify: true,
  write: false,
  logLevel: "warning",
});
const style = css.outputFiles[0]?.text ?? "";
const hash = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const policy = [
  "default-src 'none'",
  `script-src ${hash(script)}`,
  `style-src ${hash(style)}`,
  "connect-src 'self'",
  "img-src data: blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const html = readFileSync(join(from, "page.html"), "utf8")
  .replace("POLICY", () => policy)
  .replace("STYLE", () => style)
  .replace("SCRIPT", () => script);
mkdirSync(dirname(to), { recursive: true });
writeFileSync(to, html);
const weight = gzipSync(html).length;
if (weight > maxBytes) throw new Error(`the page is ${weight} bytes compressed; the maximum is ${maxBytes}`);
console.error(`page: ${Math.round(html.length / 1000)} kB, ${Math.round(weight / 1000)} kB compressed`);
