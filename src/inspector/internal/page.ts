/** The page as one document, and the policy with which a browser runs nothing but its own script. */
import { createHash } from "node:crypto"
import { markup, script, style } from "./document.ts"

export const text = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pools</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${markup}<script>${script}</script>
</body>
</html>
`

const hashOf = (part: string): string => `'sha256-${createHash("sha256").update(part).digest("base64")}'`

export const policy = [
  "default-src 'none'",
  `script-src ${hashOf(script)}`,
  `style-src ${hashOf(style)}`,
  "img-src data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'"
].join("; ")
