/** The README.md of a repository of SAEs: `library_name: saelens` is what the hub and SAELens find it by. */
export function saeCard(id: string, saeId: string): string {
  return `---
library_name: saelens
---

# Sparse autoencoders

SAEs in SAELens' layout, a folder for each: \`cfg.json\` and \`sae_weights.safetensors\`.

\`\`\`python
from sae_lens import SAE

sae = SAE.from_pretrained("${id}", "${saeId}")
\`\`\`

\`\`\`sh
mistral-sae sae download ${id} ${saeId}
\`\`\`
`;
}
