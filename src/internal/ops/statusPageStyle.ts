/** The style sheet of the status page: light and dark, from a telephone to a wall display, no resources from outside. */
export const statusPageStyle = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--line:#e1e5ea;--text:#17202b;--soft:#5b6776;--accent:#2563eb;
--ok:#137a3e;--warn:#9a5b00;--bad:#c02626;--ok-bg:#e7f6ec;--warn-bg:#fff3dc;--bad-bg:#fdeaea;--idle-bg:#eef1f5}
@media (prefers-color-scheme:dark){:root{--bg:#0f141a;--card:#181f28;--line:#2a3441;--text:#e8edf3;--soft:#98a5b5;
--accent:#6ea0ff;--ok:#5dd58c;--warn:#f2b64c;--bad:#ff8181;--ok-bg:#14301f;--warn-bg:#37290f;--bad-bg:#3c1a1b;
--idle-bg:#202833}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;font-variant-numeric:tabular-nums}
main,header{max-width:1120px;margin:0 auto;padding:0 20px}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 12px;padding-top:20px;padding-bottom:12px}
h1{font-size:17px;margin:0;font-weight:650}
header .soft:last-child{margin-left:auto}
.soft{color:var(--soft)}
.banner{border:1px solid var(--line);border-left:6px solid var(--tone,var(--soft));border-radius:10px;
background:var(--tone-bg,var(--card));padding:16px 18px}
.banner h2{margin:0;font-size:24px;line-height:1.25;color:var(--tone,inherit)}
.banner h2 small{font-size:15px;font-weight:400;color:var(--soft);margin-left:8px}
.banner p{margin:6px 0 0;overflow-wrap:anywhere}
.banner b{font-weight:650}
.ok{--tone:var(--ok);--tone-bg:var(--ok-bg)}
.warn{--tone:var(--warn);--tone-bg:var(--warn-bg)}
.bad{--tone:var(--bad);--tone-bg:var(--bad-bg)}
#lost{margin-bottom:12px}
.unseen{position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.dead #banner,.dead #tiles,.dead #running,.dead #events,.dead #cards,.dead #uptime{filter:grayscale(1)}
.dead #banner{--tone:var(--soft);--tone-bg:var(--idle-bg)}
.dead .tile,.dead .card,.dead #banner{border-style:dashed}
#running:not(:empty),#events:not(:empty){margin:12px 0}
.chart{margin-top:6px}
.scale{display:flex;justify-content:space-between;font-size:12px;color:var(--soft)}
.chart svg{margin-top:0}
.scroll{overflow-x:auto}
.long .scroll{max-height:340px;overflow:auto}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.card .sub{font-size:13px;color:var(--soft);margin-top:6px}
#running td,#running th,.time{white-space:nowrap}
#running td,#running th,#events td,#events th{padding-right:14px;text-align:left}
#events .text{width:100%;white-space:normal;overflow-wrap:anywhere;min-width:220px}
.time{color:var(--soft)}
meter{width:72px;margin-left:6px;height:12px;vertical-align:middle}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin:12px 0}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;min-width:0}
.tile h3,.card h3{margin:0 0 6px;font-size:13px;font-weight:600;color:var(--soft)}
.tile .big{font-size:28px;line-height:1.15;font-weight:650;white-space:nowrap}
.tile .big small{font-size:15px;font-weight:400;color:var(--soft);margin-left:4px}
.tile .sub{font-size:13px;color:var(--soft);margin-top:4px}
.tile.alert{border-color:var(--tone)}
.tile.alert .big{color:var(--tone)}
.wide{grid-column:span 2}
svg{display:block;width:100%;height:38px;margin-top:6px;overflow:visible}
svg .area{fill:var(--accent);opacity:.14}
svg .line{fill:none;stroke:var(--accent);stroke-width:1.6;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.cards{columns:2 420px;column-gap:12px;margin-bottom:24px}
.card{break-inside:avoid;margin-bottom:12px}
table{width:100%;border-collapse:collapse;font-size:14px}
th,td{padding:5px 0;text-align:right;border-top:1px solid var(--line);font-weight:400;vertical-align:top}
thead th,thead td{border-top:0}
thead th{color:var(--soft);font-size:13px;padding-top:0}
th:first-child,td:first-child{text-align:left;padding-right:12px}
td{overflow-wrap:anywhere}
thead + tbody td,thead th{white-space:nowrap}
tbody th{color:var(--soft)}
.tag{display:inline-block;border-radius:5px;padding:0 7px;color:var(--tone);background:var(--tone-bg)}
a{color:var(--accent)}
@media (max-width:1060px){.wide{grid-column:1/-1}}
@media (max-width:560px){main,header{padding-left:12px;padding-right:12px}.tiles{grid-template-columns:1fr 1fr;gap:8px}
.tile{padding:10px 12px}.tile .big{font-size:22px}.banner h2{font-size:20px}.banner h2 small{display:block;margin:2px 0 0}
.card{padding:12px}header .soft:last-child{margin-left:0}}
`
