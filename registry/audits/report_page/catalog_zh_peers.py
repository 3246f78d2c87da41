"""Chinese for the audits that compare with other adapters or with base weights; see `catalog_zh.py`."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

_COHORT = {
    "cohort": "同类群组",
    "detector": "检测器",
    "features compared": "参与比较的特征数",
    "features with |z| > {}": "|z| > {0} 的特征数",
    "{} (flagged from {})": "{0}（达到 {1} 即标记）",
    "largest |z|": "最大的 |z|",
    "Mahalanobis distance": "马氏距离",
    "distance": "距离",
    "log10 largest value": "最大奇异值（log₁₀）",
    "log10 norm": "范数（log₁₀）",
    "concentration": "集中度",
    "energy entropy": "能量熵",
    "log10 kurtosis": "峰度（log₁₀）",
    "all modules: log10 spread of norms": "全部模块：范数的离散程度（log₁₀）",
    "no feature in common with the cohort": "与群组没有共同的特征",
    "conformal p": "共形 p 值",
    "false positives among the peers": "同类中的误报",
    "too few peers (have {}, need {})": "同类过少（现有 {0} 个，需要 {1} 个）",
    "take in more adapters of the same base, trainer, rank and targets; until then this says nothing": (
        "请收入更多基础模型、训练器、秩和目标均相同的适配器；在此之前本项不能说明任何问题"
    ),
    "no feature is known of both the adapter and its cohort": "适配器与其群组没有共同的特征",
    "no module has a spectrum to compare": "没有任何模块有可供比较的谱",
    "measure the cohort again with this release": "请用此版本重新测量该群组",
    "only {} of {} modules have a spectrum": "{1} 个模块中只有 {0} 个有谱",
    "the spectrum audit says why the others have none": "其余模块没有谱的原因见奇异值谱审计",
    "{} among {} peers (p = {})": "在 {1} 个同类中{0}（p = {2}）",
    "spectral outlier": "属于谱离群",
    "no spectral outlier": "未见谱离群",
    "spectral outlier: {}. Furthest: {}. {}": "谱离群：{0}。偏离最大：{1}。{2}",
    "{} features are more than {} robust deviations from the median": (
        "{0} 个特征与中位数相差超过 {1} 个稳健标准差"
    ),
    "as a whole it lies further out than {} of {} peers": "整体上比 {1} 个同类中的 {0} 个更偏离",
    "the same rules flag {} of the {} peers themselves: {} to {} % of ordinary adapters "
    "(95 % interval)": (
        "同样的规则也会标记 {1} 个同类中的 {0} 个：即普通适配器的 {2} 至 {3} %（95 % 置信区间）"
    ),
    "look at how it was trained (learning rate, data, a merge?) and at what it makes; "
    "most outliers of a large cohort are ordinary, see the false-positive rate": (
        "请查看其训练方式（学习率、数据、是否合并过）与输出；大群组中的离群者大多并无异常，参见误报率"
    ),
    "{} features are not known of both sides and were not compared: {}": (
        "{0} 个特征并非双方都有，未作比较：{1}"
    ),
    "its module classes differ from its cohort's: check that the cohort is the right one": (
        "它的模块类别与群组不同：请确认所选群组是否正确"
    ),
}

_BASE = {
    "base files (sha256)": "基础模型文件（sha256）",
    "dora: change of length": "DoRA：长度的变化",
    "intruder dimensions": "入侵维度",
    "largest s1(dW) / s1(W)": "最大的 σ₁(ΔW)/σ₁(W)",
    "largest ||dW|| / ||W||": "最大的 ‖ΔW‖/‖W‖",
    "median ||dW|| / ||W||": "‖ΔW‖/‖W‖ 的中位数",
    "the base model's weights are not at hand (loraseal base add)": (
        "没有基础模型的权重（可用 loraseal base add 添加）"
    ),
    "the base cache is unusable": "基础权重缓存无法使用",
    "none of {} modules was related to the base": "{0} 个模块都未能与基础权重对应",
    "updates are up to {} % of the base's weights ({})": "更新最大为基础权重的 {0} %（{1}）",
    "its update is {} % of the base's weight (Frobenius norms), more than {} %": (
        "它的更新为基础权重的 {0} %（按 Frobenius 范数），超过 {1} %"
    ),
    "look at what it makes: updates of most adapters are 0.5 to 5 % of the weight; "
    "try a lower scale": "请查看其输出：多数适配器的更新为权重的 0.5 至 5 %；可尝试更低的缩放系数",
    "name the base that it was trained on (loraseal base list); if this is the one, the file does "
    "not fit it and no loader can apply it": (
        "请指明训练所用的基础模型（loraseal base list）；若正是此模型，则该文件与之不符，无法加载"
    ),
    "add the whole base, with its text encoders: loraseal base add": (
        "请添加完整的基础模型，包括文本编码器：loraseal base add"
    ),
    "{} modules were not related to the base: {}": "{0} 个模块未能与基础权重对应：{1}",
    "see the other audits for what is known of them": "对它们的了解见其他审计",
    "{} of {} modules change layers that the base cache does not hold under a name that is known": (
        "{1} 个模块中有 {0} 个所改变的层在基础权重缓存中找不到已知的名称"
    ),
    "the top directions of {} layers are too close to each other to be told apart: {}": (
        "{0} 个层的主要方向彼此过近，无法区分：{1}"
    ),
    "their intruders are not counted; the norms are": "它们的入侵维度未计入；范数已计入",
    "its update is too large to multiply out": "它的更新过大，无法展开相乘",
    "its update is not finite, or too large to be multiplied": "它的更新含有非有限值，或过大而无法相乘",
}

_UPDATES = {
    "{}: in {} modules the update also depends on the base model": (
        "{0}：{1} 个模块的更新还取决于基础模型"
    ),
    "a full difference of more than {} values": "完整差值超过 {0} 个数",
    "a vector of weights is changed, which has no spectrum": "改变的是权重向量，没有谱",
    "loha of high rank with more than {} values": "高秩 LoHa，超过 {0} 个数",
    "only a bias is changed, which has no spectrum": "只改变了偏置，没有谱",
    "the full matrices of one payload have a bound": "单个载荷中完整矩阵的数量有上限",
    "glora: additive part only": "GLoRA：仅加性部分",
    "glora:additive-part-only": "GLoRA 仅加性部分（glora:additive-part-only）",
    "dora:direction-only": "DoRA 仅方向（dora:direction-only）",
    "the numbers are those of b1 @ b2; what a1 and a2 do to the base weights is not measured": (
        "这些数值描述的是 b1 @ b2；a1 与 a2 对基础权重的作用未被测量"
    ),
    "method {} has no update in the file": "方法 {0} 的更新不在文件中",
    "oft rotates the base weights: the update is not in the file": (
        "OFT 旋转基础权重：更新不在文件中"
    ),
    "boft rotates the base weights: the update is not in the file": (
        "BOFT 旋转基础权重：更新不在文件中"
    ),
    "ia3 scales channels of the base model: the update is not in the file": (
        "IA3 缩放基础模型的通道：更新不在文件中"
    ),
    "vera's projections are drawn from a seed: the update is not in the file": (
        "VeRA 的投影由种子生成：更新不在文件中"
    ),
    "a norm's weights are a vector, which has no spectrum": "归一化层的权重是向量，没有谱",
    "a norm's scale is a vector, which has no spectrum": "归一化层的缩放是向量，没有谱",
    "faulty modules": "有错误的模块",
    "modules not applicable": "不适用的模块",
    "modules beyond a bound": "超出上限的模块",
    "spectrum digest": "谱的摘要",
    "bit-exact Gram modules": "Gram 计算逐位精确的模块数",
}

CHINESE_PEERS: dict[str, str] = {**_COHORT, **_BASE, **_UPDATES}
