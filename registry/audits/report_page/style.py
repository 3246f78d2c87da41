"""How the page looks: on a phone, on a desk, at night and on paper. No font and no picture is fetched."""

from __future__ import annotations

from registry.audits.report_page.palette import COLOURS, ZERO_COLOUR


def _variables(number: int) -> str:
    return "".join(f"--{name}:{pair[number]};" for name, pair in COLOURS.items())


_VERDICTS = "".join(
    f".mark.{name}{{color:var(--{name})}}"
    for name in ("pass", "warn", "review", "fail", "inconclusive", "error", "not_applicable")
)

_SCREEN = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"PingFang SC","Noto Sans CJK SC","Noto Sans SC","Microsoft YaHei",sans-serif}
header,main{max-width:62rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.2rem}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;line-height:1.3;margin:2.2rem 0 .5rem;padding-top:.7rem;border-top:1px solid var(--line)}
h3{font-size:.95rem;margin:1.1rem 0 .3rem;overflow-wrap:anywhere}
p{margin:.4rem 0;overflow-wrap:anywhere}
ul{margin:.4rem 0;padding-left:1.2rem}
.product,.when,.small,small,figcaption,.panel p,.tally{color:var(--faint);font-size:.86rem}
small{display:block;font-weight:400}
.all{font-size:1.1rem}
.tally,.digests{list-style:none;padding:0;margin:.2rem 0;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem}
.digests{display:block}
.note,.trouble{background:var(--card);border-left:4px solid var(--line);padding:.5rem .8rem}
.trouble{border-color:var(--fail)}
.mark{font-weight:700;white-space:nowrap}
.name,.said{overflow-wrap:anywhere}
.name,code,.digests,.tick{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.name,code,.digests{font-size:.86em}
h1 .name{font-size:1em}
code{color:var(--faint);font-weight:400}
.scroller{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--line)}
thead th{color:var(--faint);font-size:.82rem;font-weight:600;white-space:nowrap}
tbody th{font-weight:400}
.verdicts th b{display:block}
.verdicts td:nth-child(3){white-space:nowrap}
.verdicts th,.verdicts td:nth-child(2){min-width:8rem}
.metrics th{width:55%}
.bar{display:block;height:6px;margin-top:.3rem;background:var(--line)}
.bar i{display:block;height:100%;background:var(--mark)}
.findings{list-style:none;padding:0}
.findings>li{border-left:4px solid var(--line);padding:.1rem 0 .1rem .8rem;margin:.9rem 0}
.findings p{margin:.15rem 0}
.names{list-style:none;padding:0;margin:.2rem 0;display:flex;flex-wrap:wrap;gap:.25rem .4rem;line-height:1.35}
.names li{background:var(--card);padding:.05rem .4rem;max-width:100%}
figure{margin:.6rem 0}
figcaption{margin-top:.6rem}
.heat{display:grid;grid-template-columns:minmax(5.5rem,11rem) minmax(0,1fr);column-gap:.5rem}
.heat-names,.heat-field,.heat-axis{position:relative}
.heat-names span{position:absolute;right:0;max-width:100%;white-space:nowrap;display:flex;gap:.4rem;font-size:11px;line-height:12px;color:var(--faint)}
.heat-names bdi{overflow:hidden;text-overflow:ellipsis}
.heat-names b{font-weight:400}
.heat-field,.swatch.none{background:repeating-linear-gradient(45deg,var(--card) 0 4px,var(--line) 4px 5px)}
.heat-field img{display:block;width:100%;height:100%;image-rendering:pixelated}
.rule{position:absolute;left:0;right:0;height:2px;margin-top:-1px;background:var(--paper)}
.heat-axis{height:1.1rem;font-size:11px;color:var(--faint);margin-top:2px}
.heat-axis span{position:absolute;transform:translateX(-50%)}
.heat-axis span:last-child{transform:translateX(-85%)}
.axis-title{font-size:.8rem;color:var(--faint);text-align:center}
.legend{display:flex;flex-wrap:wrap;align-items:flex-start;gap:.4rem 1.2rem;margin-top:.7rem;font-size:.82rem;
color:var(--faint)}
.legend-scale{flex:1 1 12rem;max-width:24rem}
.legend-scale img{display:block;width:100%;height:12px}
.legend-numbers{display:flex;justify-content:space-between}
.swatch{display:inline-block;width:12px;height:12px;margin-right:.35rem;border:1px solid var(--line);
vertical-align:-1px}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.2rem,1fr));gap:.8rem 1rem}
.panel h3{margin:.2rem 0}
.panel p{margin:0;line-height:1.35}
.panel svg{display:block;width:100%;max-width:20rem}
svg text{fill:var(--faint);font-size:10px}
svg text.end{text-anchor:end}
.grid{stroke:var(--line);stroke-width:.7}
.band{fill:var(--band)}
.median{fill:none;stroke:var(--mark);stroke-width:1.8}
.z{display:block;white-space:nowrap}
.cohort td:last-child{min-width:11rem;width:50%}
.strip-cell{display:flex;align-items:center;gap:.7rem}
.strip{position:relative;flex:1;height:14px;background:var(--card)}
.strip .line{position:absolute;top:-2px;bottom:-2px;width:1px;background:var(--faint)}
.strip .dot{position:absolute;top:2px;width:10px;height:10px;margin-left:-5px;border-radius:50%;
background:var(--mark)}
.strip .dot.far{background:var(--fail);border-radius:0;transform:rotate(45deg)}
.number{font-variant-numeric:tabular-nums;white-space:nowrap;min-width:4.2rem}
main{padding-bottom:3rem}
@media (max-width:40rem){
body{font-size:15px}
.heat{grid-template-columns:minmax(4.5rem,7.5rem) minmax(0,1fr)}
.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.stack,.stack tbody{display:block}
.stack tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
.stack th,.stack td{display:block;border:0;padding:.12rem 0;white-space:normal!important}
.stack td::before{content:attr(data-label);color:var(--faint);font-size:.82rem;margin-right:.6rem}
.bar{max-width:12rem}
.z{display:inline-block;margin-right:.8rem}
}
"""

_PRINT = """
@page{size:A4;margin:16mm 14mm}
@media print{
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:10pt}
header,main{max-width:none;padding:0}
h2{margin-top:1.4rem}
h2,h3,#heat>p{break-after:avoid}
tr,.panel,.keep,.legend,.note,.heat,.names li,figcaption{break-inside:avoid}
thead{display:table-header-group}
.scroller{overflow:visible}
p,li{orphans:3;widows:3}
}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_variables(0)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}"
    f"{_SCREEN}.swatch.zero{{background:rgb{ZERO_COLOUR}}}{_VERDICTS}{_PRINT}"
)
