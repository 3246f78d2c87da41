"""Chinese for what the audits write: summaries, messages, advice, units, names of measured values.

A key is the English sentence with `{}` for each value; its Chinese names the values `{0}`, `{1}`, ... in
any order. tests/audits/test_report_page_words.py reads the sentences from the audits' source and
prints the ones that are missing here, ready to be filled in.
"""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

from registry.audits.report_page.catalog_zh_file import CHINESE_FILE
from registry.audits.report_page.catalog_zh_peers import CHINESE_PEERS

_SHARED = {
    "modules": "模块",
    "tensors": "张量",
    "modules with a low-rank update": "有低秩更新的模块",
    "{} more findings are not listed": "另有 {0} 条发现未列出",
    "mend the listed ones first": "请先处理已列出的",
    "its update is not finite": "它的更新含有非有限值（NaN 或无穷大）",
    "dora: direction only": "DoRA：仅方向部分",
    "the files do not state its scale, 1 was taken": "文件未说明其缩放系数，按 1 计算",
}

_PROCESS = {
    "needs the Python package {}, which is not installed": "需要 Python 包 {0}，但未安装",
    "install the audit extra: pip install 'loraseal[audit]'": (
        "请安装审计附加组件：pip install 'loraseal[audit]'"
    ),
    "stopped with {}": "因 {0} 而中止",
    "this is a fault of the audit: report it with the kind of adapter": (
        "这是审计程序自身的故障：请连同适配器类型一并报告"
    ),
    "the audit process died: {}": "审计进程意外结束：{0}",
    "the audit process did not report it": "审计进程没有给出这项结果",
    "the audit worker died": "审计工作进程已意外结束",
    "it ended with status {}": "它以状态码 {0} 结束",
    "it ran longer than {} s": "它的运行时间超过 {0} 秒",
    "it used more than {} MiB beside the payload": "除载荷之外，它占用的内存超过 {0} MiB",
    "it wrote more than {} bytes": "它输出的内容超过 {0} 字节",
    "it used more than {} s of CPU time": "它使用的 CPU 时间超过 {0} 秒",
    "it was ended by signal {}": "它被信号 {0} 终止",
    "it ended before it was done": "它在完成之前就结束了",
    "it wrote nonsense: {}": "它输出了不合协议的内容：{0}",
    "ask the trainer's owner for an intact file": "请向训练者索取完好的文件",
    "raise the audit's time limit in the settings, or hold the file as hostile": (
        "请在设置中提高审计的时间上限，否则把该文件视为恶意文件并扣留"
    ),
    "raise the audit's memory limit in the settings, or hold the file as hostile": (
        "请在设置中提高审计的内存上限，否则把该文件视为恶意文件并扣留"
    ),
    "audit it again; the log of the daemon says why the worker ended": (
        "请重新审计；守护进程的日志会说明工作进程结束的原因"
    ),
    "audit it again; a file that kills the audit every time is set aside": (
        "请重新审计；每次都使审计进程崩溃的文件会被搁置"
    ),
    "treat the file as hostile: the process that read it did not keep its protocol": (
        "请把该文件视为恶意文件：读取它的进程没有遵守协议"
    ),
}

_STRUCTURE = {
    "{} modules of method {}": "{0} 个模块，方法为 {1}",
    "{} faults in {}": "{1}，其中有 {0} 处错误",
    "methods": "方法",
    "ranks": "秩",
    "it has no adapter module": "其中没有适配器模块",
    "this is no adapter: see what it is with `loraseal inspect`": (
        "这不是适配器：可用 `loraseal inspect` 查看它是什么"
    ),
    "{} tensors belong to no module that this audit knows: {}": (
        "{0} 个张量不属于本审计所认识的任何模块：{1}"
    ),
    "they may be whole layers saved beside the adapter (modules_to_save) or an unknown method": (
        "它们可能是与适配器一同保存的完整层（modules_to_save），也可能属于未知方法"
    ),
    "train or export it again: the file holds half a module": (
        "请重新训练或导出：文件中的模块不完整"
    ),
    "rank {} is larger than the layer's smaller side, {}": "秩 {0} 大于该层较短边的长度 {1}",
    "a lower rank holds the same; nothing is wrong otherwise": (
        "更低的秩即可容纳同样的内容；除此之外没有问题"
    ),
    "alpha is {}, expected a number above 0": "alpha 为 {0}，应为大于 0 的数",
    "ask the trainer's owner for the file as it was saved; a tool may have rewritten it": (
        "请向训练者索取最初保存的文件；它可能被某个工具改写过"
    ),
    "scale is {}, expected at most {}": "缩放系数为 {0}，不应超过 {1}",
    "adapter_config.json says use_dora={}, the weights disagree": (
        "adapter_config.json 声明 use_dora={0}，与权重不符"
    ),
    "keep adapter_config.json and weights of one training run together": (
        "请使用同一次训练产生的 adapter_config.json 与权重"
    ),
    "rank is {}, adapter_config.json says {}": "秩为 {0}，而 adapter_config.json 声明为 {1}",
    "{} factors are stored as {} without a scale, so small values are rounded away": (
        "{0} 个因子以 {1} 存储而没有缩放系数，较小的数值会被舍去"
    ),
    "export it as BF16 or F16": "请以 BF16 或 F16 导出",
    "{} has shape {}": "{0} 的形状为 {1}",
}

_FACTORS = {
    "{} has shape {}, expected one number": "{0} 的形状为 {1}，应为单个数",
    "{} without {}": "有 {0} 而没有 {1}",
    "{} has shape {}, expected at least two dimensions": "{0} 的形状为 {1}，应至少有两个维度",
    "down has rank {} and up has rank {}": "down 的秩为 {0}，up 的秩为 {1}",
    "mid has shape {}, expected rank {} twice": "mid 的形状为 {0}，前两维应均为秩 {1}",
    "up_bias has shape {}, expected [{}]": "up_bias 的形状为 {0}，应为 [{1}]",
    "lora_e has {} values, expected {}": "lora_e 有 {0} 个数，应为 {1} 个",
    "magnitude has shape {}, expected {} or {} values": (
        "magnitude 的形状为 {0}，应有 {1} 或 {2} 个数"
    ),
    "its two products have different shapes": "它的两个乘积形状不同",
    "{} do not fit {}": "{0} 与 {1} 不匹配",
    "{} have ranks {} and {}": "{0} 的秩分别为 {1} 和 {2}",
    "a factor is empty": "有一个因子为空",
    "{} does not stand alone": "{0} 之外还有别的因子",
    "{} disagree on the rank": "{0} 的秩不一致",
    "oft_blocks has shape {}, expected square blocks": "oft_blocks 的形状为 {0}，应为方块",
    "its blocks have shape {}, expected four dimensions": "它的块形状为 {0}，应有四个维度",
    "diff and diff_b have different widths": "diff 与 diff_b 的宽度不同",
    "on_input without weight": "有 on_input 而没有权重",
    "a full factor is too large to decompose": "完整因子过大，无法分解",
    "rank is 0": "秩为 0",
    "factor {} is missing": "缺少因子 {0}",
    "factors {} and {} do not share a rank": "因子 {0} 与 {1} 的秩不同",
    "core {} does not fit factor {}": "核 {0} 与因子 {1} 不匹配",
    "the two products of a LoHa module differ in size": "LoHa 模块的两个乘积大小不同",
    "tensor {} has dtype {}, expected a float": "张量 {0} 的数据类型为 {1}，应为浮点类型",
}

_VALUES = {
    "{} of {} tensors hold NaN or infinity": "{1} 个张量中有 {0} 个含有 NaN 或无穷大",
    "largest finite magnitude": "最大的有限绝对值",
    "{} tensors of dtype {} were not looked at": "{0} 个数据类型为 {1} 的张量未被检查",
    "export the adapter as BF16, F16 or F32": "请以 BF16、F16 或 F32 导出适配器",
    "{} of {} values are NaN or infinite": "{1} 个数值中有 {0} 个是 NaN 或无穷大",
    "the training diverged or the file is damaged: go back to an earlier checkpoint": (
        "训练已发散，或文件已损坏：请退回到更早的检查点"
    ),
    "its largest value is {}, which half precision can hardly hold": (
        "它的最大值为 {0}，半精度几乎无法表示"
    ),
    "check the learning rate; outputs may turn black in half precision": (
        "请检查学习率；以半精度运行时输出可能变黑"
    ),
    "{} of {} modules change nothing": "{1} 个模块中有 {0} 个不产生任何改变",
    "dead modules": "失效模块数",
    "median norm": "范数中位数",
    "{} of {} modules ({} %) change nothing": "{1} 个模块中有 {0} 个（{2} %）不产生任何改变",
    "check that these layers were trained; keep the file from delivery until that is known": (
        "请确认这些层是否受过训练；在此之前不要交付该文件"
    ),
    "changes nothing": "不产生任何改变",
    "{} % of {} is too small for half precision (median {})": (
        "{1} 中有 {0} % 的数值小到半精度无法准确表示（中位数 {2}）"
    ),
    "export it as BF16 or F32: rounding has taken part of what was trained": (
        "请以 BF16 或 F32 导出：舍入已损失了一部分训练成果"
    ),
}

_SPECTRUM = {
    "the spectrum of {} of {} modules was measured": "已测量 {1} 个模块中 {0} 个的谱",
    "computed by": "计算方式",
    "largest singular value": "最大奇异值",
    "its module": "所在模块",
    "Frobenius norm of all": "总 Frobenius 范数",
    "median stable rank": "稳定秩中位数",
    "median energy rank": "能量秩中位数",
    "median effective rank (Roy-Vetterli)": "有效秩（Roy-Vetterli）中位数",
    "median top energy share": "首个奇异值能量占比的中位数",
    "median concentration": "集中度中位数",
    "modules without update": "没有更新的模块数",
    "{} modules have no spectrum: {}": "{0} 个模块没有谱：{1}",
    "nothing is known of these modules' size; judge them by their outputs": (
        "对这些模块的更新大小一无所知；请根据输出来判断"
    ),
    "dora:direction-only: in {} modules the update also depends on the base model": (
        "DoRA 仅方向（dora:direction-only）：{0} 个模块的更新还取决于基础模型"
    ),
    "the numbers are those of the direction factors, not of the change to the model": (
        "这些数值描述的是方向因子，而不是对模型的实际改变"
    ),
    "the files do not state the scale of {} modules; 1 was taken": (
        "文件未说明 {0} 个模块的缩放系数，按 1 计算"
    ),
    "audit a PEFT adapter together with its adapter_config.json": (
        "请把 PEFT 适配器与其 adapter_config.json 一起审计"
    ),
    "go back to an earlier checkpoint: the training diverged": "训练已发散：请退回到更早的检查点",
    "could not be measured: {}": "无法测量：{0}",
    "see the findings of the structure audit": "请参见结构审计的发现",
}

_BROKEN = {
    "{}: {}": "{0}：{1}",
    "file is empty": "文件为空",
    "wait until its writer is done, or copy it again": "请等待写入完成，或重新复制",
    "file ends after {} bytes, before its 8-byte header length": (
        "文件在 {0} 字节处结束，不足 8 字节的头部长度"
    ),
    "the file is cut off: wait until its writer is done, or copy it again": (
        "文件被截断：请等待写入完成，或重新复制"
    ),
    "header length is 0, expected a JSON header": "头部长度为 0，应为 JSON 头部",
    "the file was reserved and not written yet: wait until its writer is done": (
        "文件已预留但尚未写入：请等待写入完成"
    ),
    "header says {} bytes, but the file has {} in all": "头部声明 {0} 字节，而整个文件只有 {1} 字节",
    "header length is {}, more than {} bytes": "头部长度为 {0}，超过 {1} 字节",
    "this is not a safetensors file, or a damaged one": "这不是 safetensors 文件，或文件已损坏",
    "not safetensors but {}": "不是 safetensors，而是 {0}",
    "payload holds no safetensors file": "载荷中没有 safetensors 文件",
    "file is cut off: it has {} bytes, its header describes {}": (
        "文件被截断：现有 {0} 字节，而头部描述的是 {1} 字节"
    ),
    "file has {} bytes that no tensor covers ({} in all, its header describes {})": (
        "文件有 {0} 字节不属于任何张量（共 {1} 字节，头部描述的是 {2} 字节）"
    ),
    "something was appended to it; save or download it again": (
        "文件末尾被附加了内容；请重新保存或下载"
    ),
}

CHINESE: dict[str, str] = {
    **_SHARED,
    **_PROCESS,
    **_STRUCTURE,
    **_FACTORS,
    **_VALUES,
    **_SPECTRUM,
    **_BROKEN,
    **CHINESE_FILE,
    **CHINESE_PEERS,
}
