"""The page's own words in Chinese; the same names stand in `catalog_page_en.py`."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

CHINESE_PAGE: dict[str, str] = {
    "between": "；",
    "colon": "：",
    "title": "权重审计报告",
    "made": "生成于 {when}",
    "digest": "被审计内容的摘要",
    "digest.none": "未给出",
    "verdict.all": "判定",
    "verdict.pass": "通过",
    "verdict.warn": "警告",
    "verdict.review": "需人工复核",
    "verdict.fail": "不通过",
    "verdict.inconclusive": "无法判定",
    "verdict.error": "审计出错",
    "verdict.not_applicable": "不适用",
    "tally": "{verdict} × {count}",
    "caveat": "本页只描述权重，并不表明该适配器无害：请参见文末“本报告不能说明什么”。",
    "death": "审计进程没有运行完毕：{reason}",
    "broken": "文件不符合其应有的格式：{reason}",
    "verdicts": "判定与覆盖率",
    "verdicts.caption": (
        "每项审计一行。覆盖率说明该审计实际检查了多少内容；未被检查的部分不能因此视为没有问题。"
    ),
    "column.audit": "审计项",
    "column.verdict": "判定",
    "column.coverage": "覆盖率",
    "column.summary": "结论",
    "column.module": "模块",
    "column.largest": "σ₁",
    "column.frobenius": "‖ΔW‖F",
    "column.stable": "稳定秩",
    "column.z": "稳健 z 值",
    "column.why": "列出原因",
    "column.feature": "特征",
    "column.value": "本适配器",
    "column.number": "数值",
    "column.median": "群组中位数",
    "column.position": "在同类群组中的位置",
    "column.measure": "测量值",
    "column.reason": "原因",
    "column.count": "模块数",
    "coverage": "{unit} {examined} / {total}",
    "coverage.nothing": "没有此类内容",
    "version": "版本 {version}",
    "supplier": "提供方：{supplier}",
    "privacy": "衡量适配器透露了多少训练数据信息",
    "findings": "发现与建议",
    "findings.none": "各项审计均未报告任何发现。这并不等于没有问题：请参见覆盖率。",
    "findings.places": "共 {count} 处：",
    "advice": "建议：",
    "heat": "各模块的奇异值",
    "heat.alt": (
        "奇异值热图：{modules} 个模块，{rows} 行，序号从 1 到 {indices}。最大值为 {largest}，位于 {place}。"
    ),
    "heat.caption": (
        "每行一个模块，按所在的块分组，块的先后依照文件中的顺序；从左到右是该模块更新的奇异值，由大到小，"
        "均以整个文件中的最大值（{largest}）为基准。颜色越亮，数值越大。"
    ),
    "heat.binned": "共有 {modules} 个模块；每行最多合并 {each} 个模块，显示其中的最大值。",
    "heat.legend": "log₁₀ σ/σmax",
    "heat.zero": "恰为零",
    "heat.none": "无此值",
    "heat.index": "奇异值的序号",
    "numbers.none": (
        "没有可供绘图的数值：本次运行只得到判定，或没有任何模块能够测量谱。此处宁可留空，也不虚构图形。"
    ),
    "numbers.absent": "原因：{reason}",
    "numbers.coverage": "{total} 个模块中有 {measured} 个有数值。",
    "numbers.reasons": "没有数值的模块",
    "numbers.caveats": "需谨慎解读的数值",
    "curves": "更新的集中程度",
    "curves.caption": (
        "前 k 个奇异值所占的更新能量（Σσ²）比例。线：该类模块的中位数；带：第 10 至第 90 百分位。"
        "曲线一开始就很高，说明更新集中在少数几个方向上。"
    ),
    "curves.unnamed": "类别未知",
    "curves.rest": "其他类别",
    "curves.panel": "{count} 个模块；90 % 的能量位于 {values} 个值中的前 {needed} 个（中位数）",
    "curves.panel.cut": "{count} 个模块；保留的值所含能量不足 90 %（中位数）",
    "dead": "失效模块",
    "dead.none": "已测量的模块中没有失效模块（范数低于中位数的 1e-8 即为失效）。",
    "dead.some": "{total} 个已测量的模块中有 {dead} 个不产生任何改变（范数低于中位数的 1e-8）：",
    "more": "另有 {count} 个",
    "outliers": "与本文件其他模块不同的模块",
    "outliers.caption": (
        "稳健 z 值 =（数值 − 中位数）/（1.4826 · MAD），在本文件自身的 {count} 个有效模块之间计算，"
        "对象为 log₁₀ σ₁ 与稳定秩。它说明在本文件中什么不寻常，而不是什么有错。"
    ),
    "outliers.few": "只有 {count} 个有效模块，无从比较。",
    "why.largest": "σ₁ 最大",
    "why.smallest": "σ₁ 最小",
    "why.stable": "稳定秩异常",
    "z.size": "σ₁：{z}",
    "z.stable": "秩：{z}",
    "cohort": "在同类适配器中的位置",
    "cohort.caption": (
        "与 {peers} 个同类适配器（{label}）比较。图中为每个特征的稳健 z 值，竖线位于 ±6。"
        "所有特征的总距离：{distance}。"
    ),
    "cohort.none": (
        "同类过少：没有可用的同类群组（相同的基础模型、训练器和秩），因此无法说明此类适配器通常是什么样。"
    ),
    "cohort.no_features": "同类过少：只有 {peers} 个可比的适配器（{label}），不足以说明什么是寻常的。",
    "cohort.mark": "z 值 {z}，刻度从 −{end} 到 {end}，竖线位于 ±6",
    "cohort.no_z": "没有 z 值",
    "metrics": "测量值",
    "limits": "本报告不能说明什么",
    "limits.1": (
        "适配器的行为是否符合预期。审计没有生成任何输出；隐藏的行为未必会体现在这些数值中，"
        "了解这些指标的人也可以在训练时刻意规避。"
    ),
    "limits.2": (
        "奇异值的误差约为所在模块最大奇异值的 1e-6；更小的值也会显示，但可靠性较低。"
        "这些是所存更新的奇异值，已计入文件的缩放系数。"
    ),
    "limits.3": "对于 DoRA，数值只涉及方向部分：对模型的实际改变还取决于文件中没有的基础权重。",
    "limits.4": "没有低秩形式的模块，以及不属于任何已知模块的张量，只计入覆盖率，未被测量。",
    "limits.5": (
        "不寻常不等于有害，寻常也不等于无害：稳健 z 值只与本文件的其余部分或上述同类群组比较。"
    ),
    "run": "运行情况",
    "run.peak": "审计进程的最大内存占用：{mebibytes} MiB",
    "run.confinement": "审计进程所放弃的权限",
    "run.private": "本页包含私有适配器的内部名称，请像对待适配器本身一样谨慎传递。",
    "rule.structure": "结构与形状",
    "rule.nonfinite": "NaN 与无穷大",
    "rule.dead_modules": "失效模块",
    "rule.spectrum": "奇异值谱",
    "rule.scale": "缩放系数与 alpha",
    "rule.dtype_loss": "数据类型造成的精度损失",
    "rule.claims": "头部声明",
    "rule.hidden_payload": "隐藏载荷的空间",
    "rule.spectral_outlier": "同类群组中的谱离群",
    "rule.base_relation": "与基础权重的关系",
}
