"""Where the papers are that docstrings quote by their title."""

import re

ARXIV = {
    "A General Approach to Adding Differential Privacy to Iterative Training "
    "Procedures": "1812.06210",
    "Aggregated Residual Transformations for Deep Neural Networks": "1611.05431",
    "All you need is a good init": "1511.06422",
    "AutoInit: Analytic Signal-Preserving Weight Initialization for Neural "
    "Networks": "2109.08958",
    "Automatic Clipping: Differentially Private Deep Learning Made Easier and "
    "Stronger": "2206.07136",
    "Characterizing Signal Propagation to Close the Performance Gap in "
    "Unnormalized ResNets": "2101.08692",
    "Computing Tight Differential Privacy Guarantees Using FFT": "1906.03049",
    "Deep Learning with Differential Privacy": "1607.00133",
    "Deep Networks with Stochastic Depth": "1603.09382",
    "Deep Residual Learning for Image Recognition": "1512.03385",
    "Deeply-Supervised Nets": "1409.5185",
    "Delving Deep into Rectifiers": "1502.01852",
    "Densely Connected Convolutional Networks": "1608.06993",
    "DepGraph": "2301.12900",
    "DepGraph: Towards Any Structural Pruning": "2301.12900",
    "Differentially Private Learning with Adaptive Clipping": "1905.03871",
    "Dynamic Routing Between Capsules": "1710.09829",
    "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
    "Algorithms": "1708.07747",
    "FractalNet": "1605.07648",
    "Going Deeper with Convolutions": "1409.4842",
    "GradInit: Learning to Initialize Neural Networks for Stable and Efficient "
    "Training": "2102.08098",
    "Identity Mappings in Deep Residual Networks": "1603.05027",
    "Importance Estimation for Neural Network Pruning": "1906.10771",
    "Improving the Gaussian Mechanism for Differential Privacy": "1805.06530",
    "Improving the Trainability of Deep Neural Networks through Layerwise "
    "Batch-Entropy Regularization": "2208.01134",
    "Increasing the Adversarial Robustness and Explainability of Capsule "
    "Networks with Gamma-Capsules": "1812.09707",
    "Layer Folding: Neural Network Depth Reduction using Activation "
    "Linearization": "2106.09309",
    "Learning Differentially Private Recurrent Language Models": "1710.06963",
    "Learning Efficient Convolutional Networks through Network Slimming": (
        "1708.06519"
    ),
    "Micro-Batch Training with Batch-Channel Normalization and Weight "
    "Standardization": "1903.10520",
    "Momentum Capsule Networks": "2201.11091",
    "Momentum Residual Neural Networks": "2102.07870",
    "Nonlinear Advantage": "2211.17180",
    "Nonlinear Advantage: Trained Networks Might Not Be As Complex as You "
    "Think": "2211.17180",
    "Practical and Private (Deep) Learning without Sampling or Shuffling": (
        "2103.00039"
    ),
    "Privacy Auditing with One (1) Training Run": "2305.08846",
    "Privacy Risk in Machine Learning": "1709.01604",
    "Pruning Filters for Efficient ConvNets": "1608.08710",
    "Relay Backpropagation for Effective Learning of Deep Convolutional Neural "
    "Networks": "1512.05830",
    "Renyi Differential Privacy of the Sampled Gaussian Mechanism": "1908.10530",
    "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks": (
        "1808.06866"
    ),
    "Subsampled Renyi Differential Privacy and Analytical Moments Accountant": (
        "1808.00087"
    ),
    "The Composition Theorem for Differential Privacy": "1311.0776",
    "The Reversible Residual Network": "1707.04585",
    "Training Deep Nets with Sublinear Memory Cost": "1604.06174",
    "Unlocking High-Accuracy Differentially Private Image Classification "
    "through Scale": "2204.13650",
    "Wide Residual Networks": "1605.07146",
}
PAPERS = {
    title: f"https://arxiv.org/abs/{number}" for title, number in ARXIV.items()
} | {
    "The Meaning and Use of the Area under a Receiver Operating "
    "Characteristic (ROC) Curve": (
        "https://doi.org/10.1148/radiology.143.1.7063747"
    ),
}
QUOTED = re.compile(r'"([^"]+?)(,?)"')


def address(title: str) -> str | None:
    """The address of a paper, by its title as it is quoted, or `None`."""
    return PAPERS.get(" ".join(title.split()))


def link(lines: list[str]) -> list[str]:
    """Lines of reStructuredText with the quoted papers as links."""

    def linked(quoted: re.Match) -> str:
        where = address(quoted[1])
        if where is None:
            return quoted[0]
        return f'"`{quoted[1]} <{where}>`__{quoted[2]}"'

    return QUOTED.sub(linked, "\n".join(lines)).split("\n")
